"""Write a checkpoint's detector as an ONNX file, once it gives the same as PyTorch.

python -m dbnet.export --out FILE.onnx           # of the weights that predict.py takes
python -m dbnet.export --out FILE.onnx --checkpoint runs/NAME/best.pt
python predict.py scans/ --onnx FILE.onnx        # use it
"""

from dataclasses import dataclass
from pathlib import Path

from dbnet.errors import InputError
from dbnet.header import read_header
from dbnet.inference.onnx import optional
from dbnet.inference.weights import find_weights, origin
from dbnet.runtime import cli
from dbnet.runtime.files import check_writable


@dataclass(frozen=True)
class ExportConfig:
    """Flags of the command."""

    out: Path
    """File to write; it must not be there yet."""
    checkpoint: Path | None = None
    """Checkpoint to read; None: the newest best.pt under runs/, else the released weights."""


def check(cfg: ExportConfig) -> Path:
    """Refuse what cannot work; before PyTorch is imported. Returns the checkpoint to read.

    Raises:
        InputError: a package is not installed, --checkpoint is no checkpoint, or --out is there
            already or cannot be written.
    """
    for name in ("onnx", "onnxruntime"):
        optional(name)
    if cfg.out.exists():
        raise InputError(f"{cfg.out}: is there already; delete it or choose another --out")
    check_writable(cfg.out.parent, "choose another --out")
    checkpoint = cfg.checkpoint or find_weights(None)
    read_header(checkpoint)
    return checkpoint


def main(cfg: ExportConfig) -> None:
    """Write the file, and print by how much it differs from PyTorch."""
    checkpoint = check(cfg)
    print(f"weights: {checkpoint}, {origin(checkpoint)}", flush=True)
    from dbnet.checkpoint import build_model, load_checkpoint
    from dbnet.inference.onnx_export import CHECKED_SHAPES, settings_of, write

    payload = load_checkpoint(checkpoint)
    difference = write(cfg.out, build_model(payload), settings_of(payload, checkpoint))
    shapes = " and ".join("x".join(map(str, shape)) for shape in CHECKED_SHAPES)
    print(
        f"{cfg.out}: {cfg.out.stat().st_size / 1e6:.1f} MB; differs from PyTorch by at most "
        f"{difference:.1e} on drawn receipts, {shapes} (N x H x W)"
    )


if __name__ == "__main__":
    with cli.errors_as_lines():
        main(cli.parse(ExportConfig, description=__doc__))
