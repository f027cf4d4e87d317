"""Checkpoints: written whole or not at all, read without running code from the file."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dbnet.errors import InputError
from dbnet.model.dbnet import DBNet

FORMAT = 1


def save_checkpoint(path: Path, payload: dict[str, Any]) -> None:
    """Write to a temporary name beside `path`, flush to disk, then rename over it."""
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, **payload}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors and plain values only; nothing in the file is executed.

    Raises:
        ValueError: the file is missing, damaged, or not one of ours; says which.
    """
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; give a file, such as {path / 'best.pt'}") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: holds more than tensors and plain values, and was not opened further; "
            "use a checkpoint that train.py wrote"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: damaged or not a checkpoint ({reason})") from None
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise InputError(f"{path}: not a checkpoint of this project (format {FORMAT} expected)")
    return payload


def build_model(payload: dict[str, Any]) -> DBNet:
    """The detector a checkpoint describes, with its averaged weights where it holds some."""
    model = DBNet(**payload["model_args"])
    load_weights(model, payload)
    return model


def load_weights(model: nn.Module, payload: dict[str, Any]) -> None:
    """Copy a checkpoint's (averaged, where there) weights into `model`.

    Raises:
        ValueError: the checkpoint is of another architecture; names what differs.
    """
    source = payload["ema"] or payload["model"]
    target = model.state_dict()
    missing = sorted(set(target) - set(source))
    surplus = sorted(set(source) - set(target))
    shapes = [
        f"{key} {tuple(source[key].shape)} is not {tuple(target[key].shape)}"
        for key in sorted(set(target) & set(source))
        if source[key].shape != target[key].shape
    ]
    if missing or surplus or shapes:
        first = [f"lacks {k}" for k in missing] + [f"has {k}" for k in surplus] + shapes
        raise InputError(
            f"checkpoint of {payload['model_args']} does not fit this model in {len(first)} "
            f"places: {'; '.join(first[:3])}"
        )
    model.load_state_dict(source)
