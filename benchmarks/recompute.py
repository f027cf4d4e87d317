"""Memory and time of a training step with and without gradient checkpointing of the encoder.

python -m benchmarks.recompute --batch-size 12
"""

import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import torch
import tyro

from dbnet.model.dbnet import DBNet
from dbnet.runtime.device import (
    autocast,
    autocast_dtype,
    resolve_device,
    resolve_precision,
    wait_for,
)
from dbnet.runtime.memory import keep_freed_memory


@dataclass(frozen=True)
class Settings:
    """One training step, forward and backward, on random images; each way in its own process."""

    encoder: str = "resnet18"
    fpn_channels: int = 256
    batch_size: int = 4
    image_size: int = 640
    repeats: int = 5
    measure: bool | None = None
    """Used inside: with or without recomputation."""


def measure(cfg: Settings) -> None:
    """Prints peak memory in bytes and the median seconds of a step."""
    device = resolve_device("auto")
    dtype = autocast_dtype(resolve_precision("auto", device))
    keep_freed_memory()
    torch.manual_seed(0)
    model = DBNet(encoder=cfg.encoder, fpn_channels=cfg.fpn_channels).to(device).train()
    model.to(memory_format=torch.channels_last)
    model.encoder.recompute = cfg.measure
    size = (cfg.batch_size, 3, cfg.image_size, cfg.image_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8).to(device)
    before = peak(device)
    seconds = []
    for _ in range(1 + cfg.repeats):  # the first one warms up
        started = time.perf_counter()
        with autocast(device, dtype):
            outputs = model(images)
        loss = sum(maps.float().square().mean() for maps in outputs)
        loss.backward()
        if wait := wait_for(device):
            wait()
        seconds.append(time.perf_counter() - started)
    print(peak(device) - before, statistics.median(seconds[1:]))


def peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(cfg: Settings) -> None:
    if cfg.measure is not None:
        return measure(cfg)
    print(
        f"{cfg.encoder}, FPN {cfg.fpn_channels}, images: {cfg.batch_size}, pixels: {cfg.image_size}"
    )
    results = {}
    for name, flag in (("activations kept", "False"), ("encoder run twice", "True")):
        command = [sys.executable, "-m", "benchmarks.recompute", *sys.argv[1:], "--measure", flag]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[name] = [float(value) for value in output.split()[-2:]]
    (memory, seconds), *_ = results.values()
    print("| | peak MB of a step | ratio | s a step, median | ratio |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, (m, s) in results.items():
        print(f"| {name} | {m / 1e6:.0f} | {m / memory:.2f} | {s:.2f} | {s / seconds:.2f} |")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
