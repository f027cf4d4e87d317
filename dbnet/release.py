"""Write a checkpoint's (averaged) weights as a small file to hand on.

Examples:
    python -m dbnet.release --checkpoint runs/NAME/best.pt --out receipts.pt
    python predict.py scans/ --checkpoint receipts.pt            # use it
    python train.py --data.root DIR --model.weights receipts.pt  # train it on

Notes:
    Nothing about the machine and the data set is stored.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dbnet.errors import InputError
from dbnet.header import read_header
from dbnet.runtime import cli
from dbnet.runtime.files import check_writable

if TYPE_CHECKING:
    from dbnet.checkpoint import Checkpoint

# What using the weights depends on; the rest of the training's settings is left out.
_DATA = ("image_size", "drawn_level")
_SECTIONS = ("targets", "loss", "postprocess", "metric")


@dataclass(frozen=True)
class ReleaseConfig:
    """Flags of the command."""

    checkpoint: Path
    """Checkpoint to read, as train.py wrote it."""
    out: Path
    """File to write; it must not be there yet."""


def check(cfg: ReleaseConfig) -> None:
    """Refuse what cannot work; before PyTorch is imported.

    Raises:
        InputError: --checkpoint is no checkpoint, or --out is there already or cannot be written.
    """
    if cfg.out.exists():
        raise InputError(f"{cfg.out}: is there already; delete it or choose another --out")
    check_writable(cfg.out.parent, "choose another --out")
    read_header(cfg.checkpoint)


def main(cfg: ReleaseConfig) -> None:
    """Write a file that predict.py and train.py take."""
    check(cfg)
    from dbnet.checkpoint import load_checkpoint, save_checkpoint

    payload = load_checkpoint(cfg.checkpoint)
    try:
        payload = released(payload)
    except (KeyError, TypeError):
        raise InputError(
            f"{cfg.checkpoint}: lacks its settings; use a checkpoint that train.py wrote"
        ) from None
    cfg.out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(cfg.out, payload)
    print(f"{cfg.out}: {cfg.out.stat().st_size / 1e6:.1f} MB")


def released(payload: "Checkpoint") -> "Checkpoint":
    """The payload of the small checkpoint.

    Convolutions become half precision, which is nearly all of the size. The rest stays as it is:
    a running variance may be beyond what half precision holds.
    """
    weights = payload["ema"] or payload["model"]
    config = payload["config"]
    return {
        "model_args": payload["model_args"],
        "config": {"data": {name: config["data"][name] for name in _DATA}}
        | {name: config[name] for name in _SECTIONS},
        "epoch": payload["epoch"],
        "model": {name: t.half() if t.ndim == 4 else t for name, t in weights.items()},
        "ema": None,
    }


if __name__ == "__main__":
    with cli.errors_as_lines():
        main(cli.parse(ReleaseConfig, description=__doc__))
