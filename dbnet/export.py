"""Write a checkpoint's detector as an ONNX file that gives the same as PyTorch.

Examples:
    python -m dbnet.export                      # of predict.py's weights
    python -m dbnet.export --checkpoint runs/NAME/best.pt --out FILE.onnx
    python -m dbnet.export --precision int8 --calibrate DIR --evaluate ROOT
    python predict.py scans/ --onnx FILE.onnx   # use it

Notes:
    Beside its checkpoint and under the same name, predict.py and Detector take
    the file by themselves wherever the checkpoint would run on the CPU in fp32
    (docs/onnx.md).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from dbnet.data.places import check_early
from dbnet.errors import InputError
from dbnet.header import read_header
from dbnet.inference.onnx import optional
from dbnet.inference.weights import describe, find_weights
from dbnet.runtime import cli
from dbnet.runtime.files import check_writable, replacing
from dbnet.section import Range, Section, require
from dbnet.settings import EvalDataConfig


@dataclass(frozen=True)
class ExportConfig(Section):
    """Flags of the command."""

    out: Path | None = None
    """File to write, not there yet. None: beside the checkpoint, NAME.onnx or NAME.int8.onnx."""
    checkpoint: Path | None = None
    """Checkpoint to read; None: the newest best.pt under runs/, else the released weights."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    """Of weights and activations. fp16 is for GPUs, int8 for CPUs; both need --evaluate."""
    calibrate: Path | None = None
    """Folder of images to calibrate int8, at most 32 used; not those of --evaluate."""
    evaluate: Path | None = None
    """Data set with a val split. Prints hmean, size and time of PyTorch and of the file."""
    images: Annotated[int | None, Range(ge=1)] = None
    """Number of images of --evaluate; None: all."""
    max_loss: Annotated[float, Range(ge=0, le=1)] = 0.005
    """With --evaluate: the most that CLEval's and IoU's hmean may lose; else no file is written."""

    def __post_init__(self) -> None:
        super().__post_init__()
        exact = self.precision == "fp32"
        require(exact or self.evaluate is not None, _needs(self.precision, "--evaluate ROOT"))
        is_int8 = self.precision == "int8"
        require(not is_int8 or self.calibrate is not None, _needs("int8", "--calibrate DIR"))
        require(is_int8 or self.calibrate is None, "--calibrate: is for --precision int8")
        require(self.images is None or self.evaluate is not None, "--images: is for --evaluate")


def _needs(precision: str, flag: str) -> str:
    return f"--precision {precision}: needs {flag}, for it changes what is found"


def check(cfg: ExportConfig) -> tuple[Path, Path]:
    """Refuse what cannot work; before PyTorch is imported. Returns the checkpoint to read and the
    file to write.

    Raises:
        InputError: a package is not installed, --checkpoint is no checkpoint, --evaluate is no data
            set, or --out is there already or cannot be written.
    """
    for name in ("onnx", "onnxruntime"):
        optional(name)
    checkpoint = cfg.checkpoint or find_weights(None)
    suffix = ".onnx" if cfg.precision == "fp32" else f".{cfg.precision}.onnx"
    out = cfg.out or checkpoint.with_suffix(suffix)
    if out.exists():
        raise InputError(f"{out}: is there already; delete it or choose another --out")
    check_writable(out.parent, "choose another --out")
    read_header(checkpoint)
    if cfg.evaluate:
        check_early(EvalDataConfig(root=cfg.evaluate), ["val"])
    return checkpoint, out


def parse() -> ExportConfig:
    """Flags over the defaults, checked."""
    cfg = cli.parse(ExportConfig, description=__doc__)
    check(cfg)
    return cfg


if __name__ == "__main__":  # before PyTorch, which takes seconds to import
    with cli.errors_as_lines():
        CFG = parse()

if __name__ != "__mp_main__":  # spawned processes import this file too, and need none of this
    from tqdm import tqdm

    from dbnet.checkpoint import build_model, load_checkpoint
    from dbnet.data.annotations.scan import load_records
    from dbnet.evaluation.runtimes import Figures, check_loss, compare, loss
    from dbnet.inference.networks import checkpoint_settings, load_network, sha256
    from dbnet.inference.onnx_export import CHECKED_SHAPES, write
    from dbnet.inference.onnx_precision import calibration_images, check_tools, lower
    from dbnet.inference.torch_network import torch_network
    from dbnet.inference.windows import Network
    from dbnet.model.dbnet import DBNet
    from dbnet.reporting.tables import table
    from dbnet.runtime.device import resolve_device
    from dbnet.structures import Record


def evaluated(cfg: ExportConfig) -> list[Record]:
    """The images of --evaluate; none without it.

    Raises:
        InputError: the data set has problems, or no image.
    """
    if cfg.evaluate is None:
        return []
    records, report = load_records(cfg.evaluate, "val", format="auto")
    if report.problems:
        raise InputError(report.problems[0])
    require(len(records) > 0, f"{cfg.evaluate}: the val split has no image")
    return [records[index] for index in range(len(records))][: cfg.images]


def main(cfg: ExportConfig) -> None:
    """Write the file, and print by how much it differs from PyTorch."""
    checkpoint, out = check(cfg)
    records = evaluated(cfg)
    print(f"weights: {describe(checkpoint)}", flush=True)
    payload = load_checkpoint(checkpoint)
    model, settings = build_model(payload), checkpoint_settings(payload, checkpoint)
    if cfg.precision != "fp32":
        check_tools(cfg.precision)
    calibration = calibration_images(cfg.calibrate) if cfg.calibrate else []
    with tempfile.TemporaryDirectory() as folder:
        fp32 = made = Path(folder, "fp32.onnx")
        difference = write(fp32, model, settings, checkpoint_sha256=sha256(checkpoint))
        shapes = " and ".join("x".join(map(str, shape)) for shape in CHECKED_SHAPES)
        print(
            f"fp32: differs from PyTorch by at most {difference:.1e} on drawn receipts, {shapes} "
            "(N x H x W)",
            flush=True,
        )
        if cfg.precision != "fp32":
            made = Path(folder, f"{cfg.precision}.onnx")
            if calibration:
                print(f"calibrated on {len(calibration)} images of {cfg.calibrate}", flush=True)
            lower(fp32, made, cfg.precision, calibration)
        if records:
            check_evaluated(cfg, model, records, list(dict.fromkeys((fp32, made))), out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as draft, draft.open("wb") as target:
            with made.open("rb") as source:
                shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {cfg.precision}")


def check_evaluated(
    cfg: ExportConfig, model: DBNet, records: Sequence[Record], files: list[Path], out: Path
) -> None:
    """Print the figures of PyTorch and of the ONNX files; the last one is to become `out`.

    Raises:
        InputError: it loses more than --max-loss.
    """
    device = resolve_device("auto")
    by_torch = torch_network(model, device=device, dtype=None, compiled=False)
    networks: dict[str, Network] = {f"PyTorch on {device} in fp32": by_torch}
    sizes = [sum(value.nbytes for value in model.state_dict().values())]
    for file in files:
        loaded = load_network(file)
        name = loaded.description.removeprefix(f"{file} ").removesuffix(" by onnxruntime")
        networks[f"onnxruntime {name}"] = loaded.network
        sizes.append(file.stat().st_size)
    with tqdm(total=len(records), desc="evaluate", unit="image", leave=False, disable=None) as bar:
        figures = compare(networks, loaded.trained, records, bar.update)
    print(f"{cfg.evaluate}, val, {len(records)} images; times are of the network alone, per image")
    print(figures_table(figures, sizes))
    first, *_, last = figures.values()
    lost = loss(first, last)
    print(f"loss of hmean: {lost:.4f}, allowed: {cfg.max_loss}", flush=True)
    check_loss(lost, cfg.max_loss, out)


def figures_table(figures: dict[str, Figures], sizes: list[int]) -> str:
    """One row per network; sizes in bytes."""
    rows = [
        [name, f"{f.cleval:.4f}", f"{f.iou:.4f}", f"{size / 1e6:.1f}", f"{f.ms:.0f}",
         f"{f.cpu_ms:.0f}"]
        for (name, f), size in zip(figures.items(), sizes, strict=True)
    ]  # fmt: skip
    return table(["", "CLEval hmean", "IoU hmean", "MB", "ms", "CPU ms"], rows)


if __name__ == "__main__":
    with cli.errors_as_lines():
        main(CFG)
