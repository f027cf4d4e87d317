"""The state of a training, which last.pt stores, and its room on the disk."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from dbnet.checkpoint import Checkpoint, load_weights
from dbnet.errors import InputError
from dbnet.model.dbnet import DBNet
from dbnet.runtime.device import rng_state, set_rng_state
from dbnet.runtime.files import check_writable
from dbnet.runtime.run_files import BEST, LAST


@dataclass
class TrainState:
    """The objects that a training step changes, and the progress in epochs.

    `RunLogger` counts the progress within an epoch.
    """

    model: DBNet
    optimizer: Optimizer
    scheduler: LRScheduler  # stepped once per optimizer step
    scaler: GradScaler
    ema: AveragedModel | None
    epoch: int = 0  # epochs done
    best: float = -1.0  # best CLEval hmean on the validation images so far
    best_epoch: int = 0  # its epoch, from 1; 0 if this process did not reach it
    stale: int = 0  # validations since then

    @property
    def steps(self) -> int:
        """Optimizer steps done, without steps that the scaler skipped."""
        return int(self.scheduler.last_epoch)

    @property
    def averaged(self) -> DBNet:
        """The network that is validated and saved as best."""
        return self.model if self.ema is None else cast(DBNet, self.ema.module)

    def state_dict(self) -> Checkpoint:
        """The state as keys of a `Checkpoint`, torch's random state included."""
        return {
            "epoch": self.epoch,
            "best": self.best,
            "stale": self.stale,
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "ema_updates": 0 if self.ema is None else int(self.ema.n_averaged),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": rng_state(),
        }

    def load_state_dict(self, state: Checkpoint) -> None:
        """Restore the state from a checkpoint.

        Raises:
            InputError: the checkpoint holds weights only, or has another architecture.
        """
        if "optimizer" not in state:
            raise InputError(f"{LAST} holds weights only; start a new run with --model.weights")
        load_weights(self.model, {**state, "ema": None})
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"] or {})
            self.ema.n_averaged.fill_(state["ema_updates"])
        self.epoch, self.best = state["epoch"], state["best"]
        self.stale = state.get("stale", 0)  # earlier versions did not count them
        set_rng_state(state["rng"])


def check_room(folder: Path, state: TrainState) -> None:
    """Check that last.pt, best.pt and a temporary copy can be written to `folder`.

    The folder may not exist yet. The estimate has two optimizer values per weight, as AdamW stores
    them from its first step on.

    Raises:
        InputError: too little disk space, or the folder cannot be written.
    """
    weights = sum(tensor.nbytes for tensor in state.model.state_dict().values())
    moments = 2 * sum(parameter.nbytes for parameter in state.model.parameters())
    last = weights * (1 if state.ema is None else 2) + moments
    needed = 2 * last + weights
    files = [folder / name for name in (LAST, BEST) if (folder / name).is_file()]
    held = sum(file.stat().st_size for file in files)  # space of files that will be replaced
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    elsewhere = "" if files else ", or choose another --train.out"  # a resumed run has its folder
    if free + held < needed:
        raise InputError(
            f"{folder}: {free / 1e6:.0f} MB are free on this disk, but the checkpoints need "
            f"{(needed - held) / 1e6:.0f} MB; make room{elsewhere}"
        )
    check_writable(folder, f"make it writable{elsewhere}")
