"""Going on with a stopped run: what may change, and how to say it."""

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs import Config, to_dict
from dbnet.errors import InputError, NonFiniteError, one_line

# What may change when a run goes on: how long it is, and what does not touch its weights.
# Not data.cache: cached threshold maps are rounded by up to 1/510 of their range, so that weights
# trained with and without it differ. Where the cache lies makes no difference.
RESUME_MAY_CHANGE = {
    "data.root",
    "data.drawn_dir",
    "data.cache_dir",
    "data.fill_cache",
    "data.check_only",
    "data.num_workers",
    "data.prefetch_factor",
    "data.persistent_workers",
    "data.pin_memory",
    "train.epochs",
    "train.save_minutes",
    "train.val_every",
    "train.device",
    "train.out",
    "train.recompute_encoder",
    "train.name",
    "train.resume",
}


def refuse_other_settings(cfg: Config, earlier: Config) -> None:
    """Print the changes a resumed run takes on; raise ValueError for those it cannot."""
    now, before = flat(to_dict(cfg)), flat(to_dict(earlier))
    changed = {name for name in now if now[name] != before[name]}
    allowed = set(RESUME_MAY_CHANGE)
    if earlier.optim.schedule == "cosine":
        allowed.remove("train.epochs")  # the whole curve depends on it
    refused = sorted(changed - allowed)
    if refused:
        listed = ", ".join(f"{name}: {before[name]} -> {now[name]}" for name in refused)
        if "train.epochs" in refused:
            listed += " (the cosine schedule spans all epochs)"
        raise InputError(
            f"{cfg.train.resume}: a resumed run keeps its settings, but {listed}; "
            "start a new run with --model.weights instead"
        )
    for name in sorted(changed - {"train.resume"}):
        print(f"resumed with {name}: {before[name]} -> {now[name]}")


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """{"train": {"epochs": 3}} to {"train.epochs": 3}."""
    result = {}
    for name, value in values.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """What ends a run from outside becomes one line that says how to go on: bad files, a full
    disk, killed workers, a loss that is no number. Other errors pass as they are.

    Raises:
        InputError, NonFiniteError: with that line.
    """
    try:
        yield
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        if not (folder / "last.pt").exists():
            raise InputError(f"{line}; no checkpoint was due yet: delete {folder}") from error
        if isinstance(error, NonFiniteError):
            raise NonFiniteError(
                f"{line}; resuming meets it again: start a new run with a lower --optim.lr and "
                f"--model.weights {folder / 'last.pt'}"
            ) from error
        raise InputError(f"{line}; that mended, go on with: {command(folder)}") from error


def where_it_stands(folder: Path, number: int, epoch: int, seen: int, images: int) -> str:
    """One line for those who stopped a run, with the command to go on.

    Args:
        number: of the signal.
        epoch, seen: done epochs, and images of the next one.
        images: in an epoch.
    """
    where = f"{seen} of {images} images of epoch {epoch + 1}" if seen else f"epoch {epoch}"
    return f"stopped by {signal.Signals(number).name} after {where}; go on with: {command(folder)}"


def command(folder: Path) -> str:
    """To go on with the run in `folder`."""
    return f"python train.py --train.resume {shlex.quote(str(folder))}"
