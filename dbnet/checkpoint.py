"""Checkpoints: written whole or not at all, read without running code from the file."""

import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from dbnet.errors import InputError
from dbnet.header import Header, append_header, read_header
from dbnet.model.dbnet import DBNet
from dbnet.runtime.device import rng_state, set_rng_state
from dbnet.runtime.files import check_writable, replacing

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
    # Of last.pt, to go on with the training; see `Training` and `RunLogger.running`.
    step: int
    seen: int
    running: dict[str, Any]
    ema_updates: int
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    rng: dict[str, list[Tensor]]


class Training(NamedTuple):
    """Everything of a training that changes with each step; last.pt holds its state."""

    model: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler
    scaler: GradScaler
    ema: AveragedModel | None

    def state_dict(self) -> dict[str, Any]:
        """Torch's random state included."""
        return {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "ema_updates": 0 if self.ema is None else int(self.ema.n_averaged),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": rng_state(),
        }

    def load_state_dict(self, state: Checkpoint) -> None:
        """Take over what `state_dict` gave, within a checkpoint.

        Raises:
            ValueError: the checkpoint holds weights only, or those of another architecture.
        """
        if "optimizer" not in state:
            raise InputError("last.pt holds weights only; start a new run with --model.weights")
        load_weights(self.model, {**state, "ema": None})
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
            self.ema.n_averaged.fill_(state["ema_updates"])
        set_rng_state(state["rng"])


def check_room(folder: Path, training: Training) -> None:
    """See that last.pt, best.pt and a temporary copy can be written to `folder`, made or not.

    The optimizer is taken to keep two values per weight, as AdamW does from its first step on.

    Raises:
        ValueError: too little disk space, or the folder cannot be written.
    """
    weights = sum(tensor.nbytes for tensor in training.model.state_dict().values())
    moments = 2 * sum(parameter.nbytes for parameter in training.model.parameters())
    last = weights * (1 if training.ema is None else 2) + moments
    needed = 2 * last + weights
    files = [folder / name for name in ("last.pt", "best.pt") if (folder / name).is_file()]
    held = sum(file.stat().st_size for file in files)  # will be replaced
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    elsewhere = "" if files else ", or choose another --train.out"  # a run stays where it is
    if free + held < needed:
        raise InputError(
            f"{folder}: {free / 1e6:.0f} MB are free on this disk, but the checkpoints need "
            f"{(needed - held) / 1e6:.0f} MB; make room{elsewhere}"
        )
    check_writable(folder, f"make it writable{elsewhere}")


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
