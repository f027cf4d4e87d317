"""A checkpoint to hand on: small, and with nothing of the machine it was trained on.

python -m dbnet.release --checkpoint runs/NAME/best.pt --out FILE.pt
"""

import sys
from pathlib import Path

import tyro

from dbnet.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dbnet.errors import InputError, one_line

# What using the weights depends on; the rest of the training's settings is left out.
_DATA = ("image_size", "drawn_level")
_SECTIONS = ("targets", "loss", "postprocess", "metric")


def main(*, checkpoint: Path, out: Path) -> None:
    """Write a checkpoint's (averaged) weights as a small file that predict.py and train.py take.

    Args:
        checkpoint: Checkpoint to read, as train.py wrote it.
        out: File to write; it must not be there yet.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; delete it or choose another --out")
    payload = load_checkpoint(checkpoint)
    try:
        payload = released(payload)
    except (KeyError, TypeError):
        raise InputError(
            f"{checkpoint}: lacks its settings; use a checkpoint that train.py wrote"
        ) from None
    save_checkpoint(out, payload)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def released(payload: Checkpoint) -> Checkpoint:
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
    try:
        tyro.cli(main, prog="python -m dbnet.release")
    except (InputError, OSError) as error:
        sys.exit(f"dbnet.release: {one_line(error)}")
