"""Checkpoints: written whole or not at all, read without running code from the file."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from dbnet.errors import InputError
from dbnet.header import Header, append_header, read_header
from dbnet.model.dbnet import DBNet
from dbnet.runtime.files import replacing

FORMAT = 1


class Checkpoint(TypedDict, total=False):
    """What a checkpoint holds. The first five are in every one of them."""

    format: int  # of this file
    model_args: dict[str, Any]  # of DBNet
    model: dict[str, Tensor]  # weights
    ema: dict[str, Tensor] | None  # averaged weights, to be used in place of `model`
    config: dict[str, Any]  # settings, as `to_dict` gives them; some sections only, if released
    epoch: int  # epochs done
    best: float  # best CLEval hmean on the validation images so far
    # Of last.pt, to go on with the training; see `TrainState` and `RunLogger.running`.
    step: int
    seen: int
    running: dict[str, Any]
    stale: int  # validations since the best one
    finished: bool  # the run had ended by its own settings
    ema_updates: int
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    rng: dict[str, list[Tensor]]


def save_checkpoint(path: Path, payload: Checkpoint) -> None:
    """Write a draft beside `path`, flush it to disk, then rename it to `path`.

    Raises:
        InputError: it could not be written; an earlier file is as it was.
    """
    header = None
    if "config" in payload:
        plain = (payload["model_args"], payload["config"], payload.get("epoch", 0))
        header = Header(*plain, payload.get("best"))
    try:
        with replacing(path) as draft, draft.open("w+b") as file:
            torch.save({"format": FORMAT, **payload}, file)
            if header:
                append_header(file, header)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        cause: BaseException = error  # torch's archive writer hides it behind its own
        while not isinstance(cause, OSError) and cause.__context__:
            cause = cause.__context__
        if not isinstance(cause, OSError):
            raise cause from None  # such as that of a loader's worker, killed meanwhile
        raise InputError(f"{path}: cannot be written ({cause.strerror or cause})") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Tensors and plain values only; nothing in the file is executed.

    Raises:
        InputError: the file is missing, damaged, or not one of ours; says which.
    """
    read_header(path)  # refuses what is no checkpoint at all
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_packed(archive, path)
            if damaged := archive.testzip():
                raise InputError(
                    f"{damaged} does not agree with its checksum"
                )  # torch does not look
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: holds more than tensors and plain values, and was not opened further; "
            "use a checkpoint that train.py wrote"
        ) from None
    except Exception as error:  # damaged bytes lead to exceptions of any type
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: damaged or not a checkpoint ({reason}); use another") from None
    known = isinstance(payload, dict) and payload.keys() >= {"model_args", "model", "ema"}
    if not known or payload.get("format") != FORMAT:
        raise InputError(f"{path}: not a checkpoint of this project (format {FORMAT} expected)")
    return payload


def _refuse_packed(archive: zipfile.ZipFile, path: Path) -> None:
    """A small file must not fill the memory: members are stored as torch.save() does it, neither
    compressed nor laid over each other."""
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise InputError("its members are compressed")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise InputError("its members overlap")


def build_model(payload: Checkpoint) -> DBNet:
    """The detector a checkpoint describes, with its averaged weights where it holds some."""
    model = DBNet(**payload["model_args"])
    load_weights(model, payload)
    return model


def load_weights(model: nn.Module, payload: Checkpoint) -> None:
    """Copy a checkpoint's (averaged, where there) weights into `model`.

    Raises:
        InputError: the checkpoint has another architecture; the message names what differs.
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
