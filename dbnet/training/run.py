"""The folder of a new run, and going on with a stopped one: what may change, how to say it."""

import dataclasses
import fcntl
import json
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dbnet.errors import InputError, NonFiniteError, one_line
from dbnet.runtime import torchrun
from dbnet.section import flat, from_stored, to_dict

Config = Any  # the settings of train.py, a dataclass with its sections

# What may change when a run goes on: how long it is, and what does not touch its weights.
# Not data.cache: cached threshold maps are rounded by up to 1/510 of their range, so that weights
# trained with and without it differ. Where the cache lies makes no difference.
RESUME_MAY_CHANGE = {
    "data.root",
    "data.images.train",
    "data.images.val",
    "data.annotations.train",
    "data.annotations.val",
    "data.follow_links",
    "data.drawn_dir",
    "data.drawn_backgrounds",
    "data.drawn_textures",
    "data.cache_dir",
    "data.fill_cache",
    "data.check_only",
    "data.num_workers",
    "data.prefetch_factor",
    "data.persistent_workers",
    "data.scoring_workers",
    "data.pin_memory",
    "train.epochs",
    "train.save_minutes",
    "train.val_every",
    "train.device",
    "train.recompute_encoder",
    "train.resume",
}

_LOCK = ".lock"  # its name in a run's folder


def read_run_config(folder: Path, cls: type[Any]) -> Config:
    """Settings of an earlier run.

    Raises:
        InputError: the folder holds no run, or its config.json cannot be read.
    """
    if folder.is_file():
        raise InputError(f"{folder}: is a file; give the run's folder, {folder.parent}")
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not there; give a run folder made by train.py") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if isinstance(values, dict):
        values.pop("built", None)
    return from_stored(cls, values, path)


def new_run_folder(cfg: Config, *, restarts: int) -> Path:
    """Make the folder; an existing one is never written into.

    It may be that of the same run, which torchrun has started again before its first checkpoint.
    `restarts` as for `after_restart`.

    Raises:
        ValueError: it exists, or cannot be made.
    """
    folder = cfg.train.out / (cfg.train.name or time.strftime("%Y%m%d-%H%M%S"))
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if restarts and _is_of_this_launch(folder):
            return folder
        go_on = f"go on with --train.resume {folder}"
        if not (folder / "last.pt").exists():
            go_on = "delete it, it holds no checkpoint"
        if (folder / _LOCK).exists():
            claim(folder).close()
        raise InputError(f"{folder}: exists; choose another --train.name, or {go_on}") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None
    return folder


def claim(folder: Path) -> IO[str]:
    """Let no other process train in the folder until this is closed, or this process ends.

    Raises:
        ValueError: another one does.
    """
    file = (folder / _LOCK).open("a")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # forked workers do not share it
    except (BlockingIOError, PermissionError):
        file.close()
        raise InputError(f"{folder}: another process is training it") from None
    except OSError:  # a file system without locks
        pass
    return file


def after_restart(cfg: Config, *, restarts: int) -> Config:
    """Where torchrun has started the ranks again (--max-restarts): go on with their run.

    Args:
        restarts: the most that a rank knows of; the machines that lost none count none.

    Raises:
        ValueError: the run has no fixed name, so that its folder cannot be known.
    """
    if not restarts or cfg.train.resume:
        return cfg
    if not cfg.train.name:
        raise InputError("torchrun --max-restarts: needs --train.name, to find the run again")
    folder = cfg.train.out / cfg.train.name
    if not (folder / "last.pt").exists() or not _is_of_this_launch(folder):
        return cfg
    print(f"{folder}: torchrun has started the ranks again", flush=True)
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, resume=folder))


def _is_of_this_launch(folder: Path) -> bool:
    """Whether this very call of torchrun has begun or resumed the run before.

    A folder that was refused at first must not be taken after a restart.
    """
    path = folder / "config.json"
    return path.exists() and read_built(folder).get("launch") == torchrun.launch()


def read_built(folder: Path) -> dict[str, Any]:
    """What config.json says of what was built.

    Raises:
        ValueError: it says nothing of that.
    """
    path = folder / "config.json"
    built = json.loads(path.read_text(encoding="utf-8")).get("built")
    if built is None:
        raise InputError(f"{path}: lacks what was built; use a folder that train.py made")
    return built


def refuse_other_run(
    cfg: Config, earlier: Config, *, epochs_done: int, images: dict[str, int], ranks: int
) -> dict[str, Any]:
    """Refuse what would make `cfg.train.resume` another run; returns what was built for it.

    Raises:
        ValueError: it has all its epochs already, or had other settings or images.
    """
    folder = cfg.train.resume
    built = read_built(folder)
    refuse_other_settings(cfg, earlier, ranks=ranks, earlier_ranks=built.get("ranks", 1))
    if epochs_done >= cfg.train.epochs:
        raise InputError(
            f"{folder}: has its {epochs_done} epochs already; give a larger --train.epochs"
        )
    if built["images"] != images:
        raise InputError(
            f"{folder}: was trained on {built['images']} images, this data set has {images}; "
            "start a new run with --model.weights instead"
        )
    return built


def refuse_other_settings(cfg: Config, earlier: Config, *, ranks: int, earlier_ranks: int) -> None:
    """Print the changes a resumed run takes on; raise ValueError for those it cannot.

    --data.batch-size and --train.accumulate may change together, so that a step is over as many
    images as before: with another number of ranks, or where memory was too little.
    """
    now, before = flat(to_dict(cfg)), flat(to_dict(earlier))
    changed = {name for name in now if now[name] != before[name]}
    allowed = set(RESUME_MAY_CHANGE)
    if earlier.optim.schedule == "cosine":
        allowed.remove("train.epochs")  # the whole curve depends on it
    of_step = ranks * cfg.data.batch_size * cfg.train.accumulate
    as_before = earlier_ranks * earlier.data.batch_size * earlier.train.accumulate
    if of_step == as_before:
        allowed |= {"data.batch_size", "train.accumulate"}
    if ranks != earlier_ranks:
        if of_step != as_before:
            raise InputError(
                f"{cfg.train.resume}: an optimizer step was over {as_before} images, now it is "
                f"{ranks} ranks x {cfg.data.batch_size} x {cfg.train.accumulate} = {of_step}; "
                "give --data.batch-size or --train.accumulate that make it the same"
            )
        print(f"resumed with ranks: {earlier_ranks} -> {ranks}")
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
    return f"{torchrun.launcher()} train.py --train.resume {shlex.quote(str(folder))}"
