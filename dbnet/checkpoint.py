"""Checkpoints: written atomically, and read without executing code from the file."""

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
    """The content of a checkpoint. The first five keys are in every checkpoint."""

    format: int  # of this file
    model_args: dict[str, Any]  # of DBNet
    model: dict[str, Tensor]  # weights
    ema: dict[str, Tensor] | None  # averaged weights, to be used in place of `model`
    config: dict[str, Any]  # settings, as `to_dict` gives them; some sections only, if released
    epoch: int  # epochs done
    best: float  # best CLEval hmean on the validation images so far
    # Only in last.pt, to resume the training; see `TrainState` and `RunLogger.running`.
    step: int
    running: dict[str, Any]
    stale: int  # validations since the best one
    finished: bool  # the run had ended by its own settings
    ema_updates: int
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    rng: dict[str, list[Tensor]]


def save_checkpoint(path: Path, payload: Checkpoint) -> None:
    """Write a temporary file beside `path`, flush it to disk, then rename it to `path`.

    Raises:
        InputError: the file could not be written. An earlier file at `path` is unchanged.
    """
    header = None
    if "config" in payload:
        header = Header(
            model_args=payload["model_args"],
            config=payload["config"],
            epoch=payload.get("epoch", 0),
            best=payload.get("best"),
        )
    try:
        with replacing(path) as draft, draft.open("w+b") as file:
            torch.save({"format": FORMAT, **payload}, file)
            if header:
                append_header(file, header)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        cause: BaseException = error  # torch's archive writer raises its own error instead
        while not isinstance(cause, OSError) and cause.__context__:
            cause = cause.__context__
        if not isinstance(cause, OSError):
            raise cause from None  # such as the error about a killed loader worker
        raise InputError(f"{path}: cannot be written ({cause.strerror or cause})") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Only tensors and plain values are accepted; no code is executed.

    Raises:
        InputError: the file is missing, damaged, or not a checkpoint of this project.
    """
    read_header(path)  # refuses files that are not checkpoints
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_packed(archive, path)
            if damaged := archive.testzip():
                # torch.load does not verify checksums.
                raise InputError(f"{damaged} does not agree with its checksum")
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
    """Refuse archives whose members are compressed or overlap: a small file could fill the memory.

    torch.save() writes neither.
    """
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise InputError("its members are compressed")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise InputError("its members overlap")


def build_model(payload: Checkpoint) -> DBNet:
    """The detector of a checkpoint, with the averaged weights if there are any."""
    model = DBNet(**payload["model_args"])
    load_weights(model, payload)
    return model


def load_weights(model: nn.Module, payload: Checkpoint) -> None:
    """Copy the weights of a checkpoint into `model`, the averaged ones if there are any.

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
