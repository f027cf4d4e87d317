"""The network alone on the processor: precision, memory format, folded batch norms, compiled.

python -m benchmarks.inference [--checkpoint FILE] [--batch-size 1] [--repeats 15] [--compile]

Milliseconds per image and the ratio to the first row of the same repeat: median (quartiles). In
every repeat each row runs once, in random order. The difference is the largest of the probability
map from the first row's. Images are drawn receipts. Without a checkpoint the weights are random.
bf16 is left out where the processor only emulates it.
"""

import argparse
import copy
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.arguments import positive
from configs import Config
from dbnet.checkpoint import build_model, load_checkpoint
from dbnet.data.transforms import EvalTransform
from dbnet.model.dbnet import DBNet
from dbnet.model.fuse import fuse_batch_norms
from dbnet.runtime.device import autocast, autocast_dtype, resolve_precision
from dbnet.runtime.memory import keep_freed_memory
from dbnet.structures import Sample
from dbnet.synthetic.dataset import draw_receipt

CPU = torch.device("cpu")
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
WARMUP = 3


def main() -> None:
    args = parse_args()
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.checkpoint:
        model = build_model(load_checkpoint(args.checkpoint)).eval()
    else:
        cfg = Config().model
        model = DBNet(encoder=cfg.encoder, fpn_channels=cfg.fpn_channels).eval()
    images = receipts(args.batch_size, args.image_size)
    precisions = ["fp32"]
    if resolve_precision("auto", CPU) == "bf16":
        precisions.append("bf16")
    else:
        print("bf16 is left out: this processor only emulates it")
    rows = variants(model, precisions, compiled=args.compile)
    print(
        f"{args.checkpoint or 'random weights'}, {args.batch_size} x {args.image_size} pixels, "
        f"threads: {torch.get_num_threads()}, repeats: {args.repeats}"
    )
    times, maps = measure(rows, images, args.repeats)
    report(list(rows), 1e3 * times / args.batch_size, maps)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--image-size", type=positive, default=Config().data.image_size)
    parser.add_argument("--batch-size", type=positive, default=1)
    parser.add_argument("--repeats", type=positive, default=15)
    parser.add_argument("--threads", type=positive, help="as many as PyTorch takes where not given")
    parser.add_argument("--compile", action="store_true", help="also each row compiled")
    return parser.parse_args()


def receipts(count: int, size: int) -> Tensor:
    """Drawn receipts as the network sees them, uint8 (count, 3, size, size)."""
    transform = EvalTransform(image_size=size)
    images = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        image, quads, texts = draw_receipt(rng)
        ignored = np.zeros(len(quads), bool)
        sample = Sample(image, quads, ignored, texts, "", np.eye(3), quads, image.shape[:2])
        images.append(transform(sample, transform.geometry(rng), rng).image)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def variants(
    model: DBNet, precisions: list[str], *, compiled: bool
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Ways to the same probability map, by name; the first is the plain one."""
    rows = {}
    for run, folded, name, precision in itertools.product(
        ("eager", "compiled")[: 1 + compiled], ("", "folded"), FORMATS, precisions
    ):
        own = fuse_batch_norms(model) if folded else copy.deepcopy(model)
        own = own.to(memory_format=FORMATS[name])
        forward = predict(own, FORMATS[name], autocast_dtype(precision))
        rows[f"{run} {precision} {name} {folded}"] = (
            torch.compile(forward) if run == "compiled" else forward
        )
    return rows


def predict(
    model: DBNet, memory_format: torch.memory_format, dtype: torch.dtype | None
) -> Callable[[Tensor], Tensor]:
    """`DBNet.predict` with a choice of the memory format, which it fixes to channels_last."""

    def forward(images: Tensor) -> Tensor:  # uint8 (N, 3, H, W) -> float32 (N, 1, H, W)
        with autocast(CPU, dtype):
            x = images.to(model.mean.dtype, memory_format=memory_format)
            features = model.fpn(model.encoder((x - model.mean) / model.std))
            return model.head.prob(features).float().sigmoid()

    return forward


@torch.inference_mode()
def measure(
    rows: dict[str, Callable[[Tensor], Tensor]], images: Tensor, repeats: int
) -> tuple[np.ndarray, list[Tensor]]:
    """Seconds per batch (repeats, rows), and each row's probability maps."""
    calls = list(rows.values())
    times = np.zeros((WARMUP + repeats, len(calls)))
    maps = [call(images) for call in calls]
    for repeat in times:
        for index in np.random.default_rng().permutation(len(calls)):
            start = time.perf_counter()
            calls[index](images)
            repeat[index] = time.perf_counter() - start
    return times[WARMUP:], maps


def report(names: list[str], ms: np.ndarray, maps: list[Tensor]) -> None:
    print(f"{'':38}{'ms per image':>26}{'ratio':>26}  difference")
    for name, own, ratio, prob_map in zip(names, ms.T, (ms / ms[:, :1]).T, maps, strict=True):
        low, median, high = np.percentile(own, [25, 50, 75])
        line = f"{name:38}{f'{median:.1f} ({low:.1f}-{high:.1f})':>26}"
        low, median, high = np.percentile(ratio, [25, 50, 75])
        difference = (prob_map - maps[0]).abs().max()
        print(f"{line}{f'{median:.3f} ({low:.3f}-{high:.3f})':>26}  {difference:.0e}")


if __name__ == "__main__":
    main()
