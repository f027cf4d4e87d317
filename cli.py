"""Command lines: flags from the config dataclasses, one clear line for what cannot work."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import tyro

from configs import Config, EvaluateConfig, PredictConfig, ProfileConfig
from dbnet.errors import InputError, Stopped, one_line
from dbnet.settings import from_dict

T = TypeVar("T")


def run(main: Callable[[T], Any], parse: Callable[[], T]) -> None:
    """Parse, run, and turn what the user can mend into one line and exit status 1."""
    name = Path(sys.argv[0]).name
    try:
        cfg = parse()
        with _ranks():
            main(cfg)
    except Stopped as stop:
        print(f"\n{name}: {stop}", file=sys.stderr)
        sys.exit(128 + stop.number)
    except KeyboardInterrupt:
        print(f"\n{name}: stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        sys.exit(f"{name}: {line}")


def _ranks() -> AbstractContextManager[None]:
    """The process group, where torchrun has started this process."""
    if not _has_ranks():
        return nullcontext()
    from dbnet.runtime.distributed import process_group  # torch is slow to import: not for --help

    return process_group()


def _has_ranks() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _refuse_ranks(why: str) -> None:
    if _has_ranks():
        raise InputError(f"{why}: start it with python, not with torchrun")


def parse_train() -> Config:
    """Flags over defaults; with --train.resume RUN, over that run's own settings."""
    run_folder = _value_of("--train.resume")
    return tyro.cli(Config, default=read_run_config(Path(run_folder)) if run_folder else Config())


def parse_evaluate() -> EvaluateConfig:
    """Flags over the settings of the checkpoint to evaluate."""
    return _parse_over_checkpoint(EvaluateConfig, required=True)


def parse_profile() -> ProfileConfig:
    """Flags over the settings of the checkpoint to profile, or the defaults where is none."""
    cfg = _parse_over_checkpoint(ProfileConfig, required=False)
    if cfg.compare_naive:
        _refuse_ranks("--compare-naive times one process")
    words = [word for word in sys.argv if word.startswith("--model.")]
    flags = {word.split("=")[0].replace("_", "-") for word in words}
    if flags and cfg.checkpoint:
        raise InputError(f"{min(flags)}: {cfg.checkpoint} has its own network; leave the flag out")
    if unused := flags - {"--model.encoder", "--model.fpn-channels"}:
        raise InputError(f"{min(unused)}: without a checkpoint weights are random; leave it out")
    return cfg


def parse_predict() -> PredictConfig:
    """Images, and flags over the settings of the weights to use."""
    _refuse_ranks("reads images in one process")
    images_first = (tyro.conf.PositionalRequiredArgs,)
    if _asks_for_help():
        return tyro.cli(PredictConfig, config=images_first)
    if onnx := _value_of("--onnx"):
        source, trained = {"onnx": Path(onnx)}, _exported_with(Path(onnx))
    else:
        named = _value_of("--checkpoint")
        checkpoint = Path(named) if named else released_weights()
        source, trained = {"checkpoint": checkpoint}, _trained_with(checkpoint)
    default = PredictConfig(
        images=tyro.MISSING,
        **source,
        image_size=trained.data.image_size,
        shrink_ratio=trained.targets.shrink_ratio,
        postprocess=trained.postprocess,
    )
    return tyro.cli(PredictConfig, default=default, config=images_first)


def _parse_over_checkpoint(cls: type[T], *, required: bool) -> T:
    if _asks_for_help():
        return tyro.cli(cls)
    named = _value_of("--checkpoint")
    try:
        checkpoint = Path(named) if named else newest_checkpoint()
    except InputError:
        if required:
            raise
        return tyro.cli(cls)
    trained = _trained_with(checkpoint)
    shared = {f.name for f in dataclasses.fields(cls)} & {
        f.name for f in dataclasses.fields(Config)
    }
    sections = {name: getattr(trained, name) for name in shared}
    # Drawn receipts were for training: figures are those of the images of root alone.
    sections["data"] = dataclasses.replace(trained.data, drawn_mix=0)
    return tyro.cli(cls, default=cls(checkpoint=checkpoint, **sections))


def _trained_with(checkpoint: Path) -> Config:
    """The settings inside a checkpoint."""
    from dbnet.checkpoint import load_checkpoint  # torch is slow to import: not for --help

    return _settings(load_checkpoint(checkpoint)["config"], checkpoint)


def _exported_with(path: Path) -> Config:
    """The settings inside an ONNX file, the others at their defaults."""
    from dbnet.inference.onnx import OnnxNetwork

    found = OnnxNetwork(path=path).settings
    sections = {
        "data": {"image_size": found["image_size"]},
        "targets": {"shrink_ratio": found["shrink_ratio"]},
        "postprocess": found["postprocess"],
    }
    return _settings(sections, path)


def read_run_config(folder: Path) -> Config:
    """Settings of an earlier run.

    Raises:
        ValueError: the folder holds no run, or its config.json cannot be read.
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
    return _settings(values, path)


def _settings(values: Any, path: Path) -> Config:
    try:
        return from_dict(Config, values)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its settings do not fit this version ({error})") from None


def newest_checkpoint(folder: Path = Path("runs")) -> Path:
    """The best.pt that was written last.

    Raises:
        ValueError: there is none.
    """
    found = sorted(folder.glob("*/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"no best.pt under {folder}/: train first, or name one: --checkpoint FILE")
    return found[-1]


def released_weights() -> Path:
    """The weights that come with the repository.

    Raises:
        ValueError: they are not there.
    """
    path = Path(__file__).parent / "weights" / "dbnet-efficientnet_lite0.pt"
    if not path.is_file():
        raise InputError(
            f"{path}: the released weights are not there; name others: --checkpoint FILE"
        )
    return path


def _asks_for_help() -> bool:
    return "--help" in sys.argv or "-h" in sys.argv


def _value_of(flag: str) -> str | None:
    """The last value behind `flag` on the command line, before the rest is parsed."""
    value = None
    for word, following in zip(sys.argv, [*sys.argv[1:], None], strict=True):
        if word == flag:
            value = following
        elif word.startswith(f"{flag}="):
            value = word.removeprefix(f"{flag}=")
    return value
