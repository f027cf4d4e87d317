"""The folder of a run: its settings, its lock, and the command that resumes it.

PyTorch is not imported: train.py reads a run's settings before that.
"""

import fcntl
import json
import shlex
import signal
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from dbnet.data.places import check_early
from dbnet.errors import InputError, NonFiniteError, one_line
from dbnet.header import read_header
from dbnet.model.names import refuse_unknown
from dbnet.runtime import torchrun
from dbnet.runtime.files import check_writable
from dbnet.runtime.run_files import CONFIG, LAST
from dbnet.section import flat, from_stored, to_dict
from dbnet.settings import ModelConfig
from dbnet.training.settings import TrainingSettings

_LOCK = ".lock"
# By the tables of the data and of the epochs, and by the line with the run's folder.
_PRINTED_ELSEWHERE = (
    "data.drawn_train",
    "data.drawn_val",
    "model.encoder",
    "model.fpn_channels",
    "model.weights",
    "train.device",
    "train.epochs",
    "train.name",
    "train.out",
    "train.precision",
)


class StoredRun(NamedTuple):
    """The folder of a run, and the content of its config.json."""

    folder: Path
    config: TrainingSettings
    built: dict[str, Any]  # weights, images, ranks, launch, ...; empty in the earliest versions


def read_run(folder: Path, cls: type[TrainingSettings]) -> StoredRun:
    """The settings of an earlier run.

    Args:
        cls: of the settings.

    Raises:
        InputError: the folder holds no run, or its config.json cannot be read.
    """
    if folder.is_file():
        raise InputError(f"{folder}: is a file; give the run's folder, {folder.parent}")
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not there; give a run folder made by train.py") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    built = values.pop("built", {}) if isinstance(values, dict) else {}
    return StoredRun(folder, from_stored(cls, values, path), built)


def refuse_early(cfg: TrainingSettings) -> None:
    """Refuse settings that cannot work, before PyTorch is imported.

    Under torchrun, files are not checked here: rank 0 checks them later and prints the error once.

    Raises:
        InputError: timm has no such encoder; --model.weights or the last.pt to resume is not a
            checkpoint, or has another network; the folder of a new run exists or cannot be written;
            the data set is missing; or mirrored print would be trained both as text and as
            background.
    """
    check_early(cfg.data, ["train", "val"])
    resumed = cfg.train.resume
    if resumed is None and cfg.augment.show_through and cfg.augment.flip:
        raise InputError(
            f"--augment.show-through {cfg.augment.show_through}: mirrored print is background, "
            f"but --augment.flip {cfg.augment.flip} mirrors text; add --augment.flip 0"
        )
    if torchrun.is_started_by_torchrun():
        return
    if resumed is not None:
        read_header(resumed / LAST)
        check_writable(resumed, "make it writable to resume the run")
        return
    refuse_unknown(cfg.model.encoder)
    if cfg.model.weights is not None:
        _refuse_other_network(cfg.model)
    named = cfg.train.out / (cfg.train.name or "")
    if cfg.train.name and named.exists():
        _refuse_taken(named)
    check_writable(named, "choose another --train.out")


def described(cfg: TrainingSettings, built: dict[str, Any]) -> dict[str, Any]:
    """The content of config.json as plain values; the inverse of `read_run`."""
    return to_dict(cfg) | {"built": built}


def changed_settings(cfg: TrainingSettings) -> str:
    """The settings that differ from the defaults and that no other line tells, by section, in lines
    of 80 columns; the start of a training prints them. All of them are in config.json."""
    defaults = flat(to_dict(type(cfg)()))
    changed: dict[str, list[str]] = {}
    for name, value in flat(to_dict(cfg)).items():
        if value != defaults[name] and name not in _PRINTED_ELSEWHERE:
            section, _, setting = name.partition(".")
            values = value if isinstance(value, list) else [value]
            shown = " ".join(
                str(each).removesuffix(".0") if isinstance(each, float) else str(each)
                for each in values
            )
            changed.setdefault(section, []).append(f"{setting} {shown}")
    listed = (f"{section}: {', '.join(settings)}" for section, settings in changed.items())
    text = f"settings: {'; '.join(listed) or 'the defaults'}"
    return textwrap.fill(
        text, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def new_folder_of(cfg: TrainingSettings, *, restarts: int) -> Path:
    """Make the folder of a new run. An existing folder is refused.

    It is used only if torchrun has restarted the same run before its first checkpoint.

    Args:
        restarts: torchrun's count of restarts, the largest over ranks.

    Raises:
        InputError: the folder exists or cannot be made.
    """
    folder = cfg.train.out / (cfg.train.name or time.strftime("%Y%m%d-%H%M%S"))
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if restarts and is_of_this_launch(folder, type(cfg)):
            return folder
        _refuse_taken(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None
    return folder


def _refuse_other_network(model: ModelConfig) -> None:
    """Refuse --model.weights that are not a checkpoint, or of another network than the flags."""
    assert model.weights is not None
    header = read_header(model.weights)
    if header is None:  # of an earlier version; PyTorch reads it later
        return
    encoder, channels = (header.model_args.get(name) for name in ("encoder", "fpn_channels"))
    if (encoder, channels) != (model.encoder, model.fpn_channels):
        raise InputError(
            f"{model.weights}: has another network; add --model.encoder {encoder} "
            f"--model.fpn-channels {channels}"
        )


def _refuse_taken(folder: Path) -> NoReturn:
    """Raise InputError with what the existing folder is and what the user can do."""
    advice = f"resume with --train.resume {folder}"
    if not (folder / LAST).exists():
        advice = "delete it, it holds no checkpoint"
    if (folder / _LOCK).exists():
        claim(folder).close()
    raise InputError(f"{folder}: exists; choose another --train.name, or {advice}") from None


def is_of_this_launch(folder: Path, cls: type[TrainingSettings]) -> bool:
    """Whether this call of torchrun has started or resumed the run in `folder`.

    Otherwise a restart would resume an existing run whose name was refused at the first start.
    """
    if not (folder / CONFIG).exists():
        return False
    return read_run(folder, cls).built.get("launch") == torchrun.launch()


def claim(folder: Path) -> IO[str]:
    """Lock the folder against other processes, until the result is closed or this process ends.

    Raises:
        InputError: another process trains in it.
    """
    file = (folder / _LOCK).open("a")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # forked workers do not inherit it
    except (BlockingIOError, PermissionError):
        file.close()
        raise InputError(f"{folder}: another process is training it") from None
    except OSError:  # a file system without locks
        pass
    return file


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Add the command that resumes the run to errors that the user can fix.

    These are bad files, a full disk, killed workers, a loss that is not finite. Other errors are
    not changed.

    Raises:
        InputError, NonFiniteError: with that line.
    """
    try:
        yield
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        if not (folder / LAST).exists():
            raise InputError(f"{line}; no checkpoint was saved yet: delete {folder}") from error
        if isinstance(error, NonFiniteError):
            raise NonFiniteError(
                f"{line}; resuming would fail again: start a new run with a lower --optim.lr and "
                f"--model.weights {folder / LAST}"
            ) from error
        raise InputError(f"{line}; fix this, then resume with: {command(folder)}") from error


def where_it_stands(folder: Path, number: int, epoch: int, seen: int, images: int) -> str:
    """The line for a stopped run: its progress, and the command that resumes it.

    Args:
        number: of the signal.
        epoch, seen: epochs done, and images of the next one.
        images: in an epoch.
    """
    where = f"{seen} of {images} images of epoch {epoch + 1}" if seen else f"epoch {epoch}"
    return f"stopped by {signal.Signals(number).name} after {where}; resume with: {command(folder)}"


def command(folder: Path) -> str:
    """The command line that resumes the run in `folder`."""
    return f"{torchrun.launcher()} train.py --train.resume {shlex.quote(str(folder))}"
