"""Small runs for the fault tests, and comparisons of two runs."""

import json
import signal
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs import Config, TrainConfig
from dbnet.checkpoint import load_checkpoint
from dbnet.settings import AugmentConfig, DataConfig, ModelConfig, OptimConfig
from dbnet.training.board import tag
from dbnet.training.logger import RunLogger

PAGES = 7  # in batches of two, two of which are a step: 4 batches and 2 steps an epoch
STATE = ("model", "ema", "ema_updates", "optimizer", "scheduler", "scaler", "rng")
POSITION = ("epoch", "step", "best")


def small(root: Path, out: Path, workers: int = 0, **changes) -> Config:
    """A run of seconds in out/run."""
    values = dict(epochs=2, accumulate=2, precision="fp32", device="cpu", out=out, name="run")
    return Config(
        data=DataConfig(
            root=root, image_size=96, batch_size=2, num_workers=workers, cache_dir=out / "cache"
        ),
        augment=AugmentConfig(rotate=5.0, color=0.3),
        model=ModelConfig(encoder="mobilenetv3_small_050", pretrained=False, fpn_channels=16),
        optim=OptimConfig(warmup_epochs=0.5, step_size=1),
        train=TrainConfig(**{**values, **changes}),
    )


def signal_after(monkeypatch, batch: int, number: int) -> None:
    """Send the signal to this process while a batch of the run, counted from 1, is logged."""
    on_step = RunLogger.on_step

    def signalled(log, report):
        on_step(log, report)
        if log.step == batch:
            signal.raise_signal(number)

    monkeypatch.setattr(RunLogger, "on_step", signalled)


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def lines_of(folder: Path) -> list[dict]:
    """Lines of metrics.jsonl without times and figures of the machine."""
    kept = ("epoch", "step", "train/loss", "val/loss", "val/cleval", "val/iou")
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: line[key] for key in line if key.startswith(kept)} for line in lines]


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's losses and rates: (step, value) by name."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    kept = (
        "1_result",
        "2_training/loss",
        "2_training/gradient",
        "3_validation",
        "4_CLEval",
        "5_IoU",
    )
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
        if name.startswith(kept)
    }


def assert_equal_runs(whole: Path, other: Path) -> None:
    """Check that two runs are equal bit by bit, and that every step is logged once."""
    a, b = (load_checkpoint(folder / "last.pt") for folder in (whole, other))
    for name in (*STATE, *POSITION):
        assert same(a[name], b[name]), name
    assert a["running"]["images"] == b["running"]["images"]
    steps = [step for step, _ in scalars_of(other)[tag("train/loss_total")]]
    assert steps == list(range(1, b["step"] + 1))
    a, b = (load_checkpoint(folder / "best.pt") for folder in (whole, other))
    assert same(a["model"], b["model"]) and a["best"] == b["best"]
    assert lines_of(whole) == lines_of(other)
    assert scalars_of(whole) == scalars_of(other)
