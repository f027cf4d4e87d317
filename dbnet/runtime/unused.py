"""Refuses flags that have no effect together with the other settings.

Only flags on the command line are checked: settings of a checkpoint or a run may have any value.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from dbnet.errors import InputError
from dbnet.settings import LossConfig


class Unused(NamedTuple):
    """Flags, the condition under which they have no effect, and the message."""

    flags: tuple[str, ...]
    when: Callable[[Any], bool]  # of the program's settings
    why: str  # the message after the flag


def _draws(cfg: Any) -> bool:
    return cfg.data.root is None or getattr(cfg.data, "drawn_mix", 0) > 0


_TRAIN_PLACES = ("--data.images.train", "--data.annotations.train")
_LOSS = [LossConfig.flag(name) for name in LossConfig.__dataclass_fields__]

RULES = {
    "data": (
        Unused(
            (
                "--data.drawn-level",
                "--data.drawn-style",
                "--data.drawn-backgrounds",
                "--data.drawn-textures",
                "--data.drawn-seed",
                "--data.drawn-dir",
            ),
            lambda cfg: not _draws(cfg),
            "is for drawn receipts, and --data.root has images of its own",
        ),
        Unused(
            ("--data.drawn-train", "--data.drawn-val"),
            lambda cfg: cfg.data.root is not None,
            "is for drawn receipts alone, without --data.root; see --data.drawn-mix of train.py",
        ),
        Unused(
            ("--data.format", "--data.skip-missing", "--data.ignore-marks"),
            lambda cfg: cfg.data.root is None,
            "is for your own images; without --data.root, all are drawn",
        ),
        Unused(
            ("--data.prefetch-factor", "--data.persistent-workers"),
            lambda cfg: cfg.data.num_workers == 0,
            "is for loader processes, and --data.num-workers is 0",
        ),
        Unused(
            ("--metric.cleval.scale-bins",),
            lambda cfg: not cfg.metric.cleval.scale_wise,
            "needs --metric.cleval.scale-wise",
        ),
    ),
    "train": (
        Unused(
            ("--optim.step-size", "--optim.gamma"),
            lambda cfg: cfg.optim.schedule != "step",
            "is for --optim.schedule step",
        ),
        Unused(
            ("--augment.jpeg-quality",),
            lambda cfg: cfg.augment.jpeg == 0,
            "needs --augment.jpeg above 0",
        ),
        Unused(
            ("--train.low-recall",),
            lambda cfg: cfg.train.low_recall_images == 0,
            "draws nothing while --train.low-recall-images is 0",
        ),
        Unused(
            ("--data.fill-cache",),
            lambda cfg: cfg.data.check_only,
            "and --data.check-only: one at a time",
        ),
    ),
    "evaluate": (
        Unused(
            _TRAIN_PLACES,
            lambda cfg: cfg.split != "train" and not cfg.data.val_fraction,
            "is for --split train and --data.val-fraction",
        ),
        Unused(
            ("--draw-worst", "--data.scoring-workers", *_LOSS),
            lambda cfg: cfg.sweep,
            "changes nothing with --sweep",
        ),
        Unused(
            (
                "--data.cache",
                "--data.persistent-workers",
                "--data.pin-memory",
                "--data.prefetch-factor",
                "--data.scoring-workers",
                "--targets.thresh-max",
                "--targets.thresh-min",
                *_LOSS,
            ),
            lambda cfg: cfg.tile == "auto",
            "changes nothing with --tile auto, which makes no target maps",
        ),
        Unused(("--data.drawn-train",), lambda cfg: cfg.split != "train", "is for --split train"),
    ),
    "profile_val": (
        Unused(
            _TRAIN_PLACES,
            lambda cfg: not cfg.data.val_fraction,
            "is for --data.val-fraction; validation images are profiled",
        ),
        Unused(("--tolerance",), lambda cfg: cfg.baseline is None, "is for --baseline"),
    ),
}


def refuse_unused(cfg: Any, program: str, words: Iterable[str] | None = None) -> None:
    """Raise InputError for the first flag that has no effect.

    The words of the command line are read: tyro does not tell which flags were given.

    Args:
        cfg: settings of the program.
        program: a key of RULES.
        words: the command line; None: sys.argv.
    """
    given = {flag_of(word) for word in (sys.argv[1:] if words is None else words)}
    for rule in (*RULES["data"], *RULES[program]):
        for flag in rule.flags:
            if flag in given and rule.when(cfg):
                raise InputError(f"{flag}: {rule.why}")


def flag_of(word: str) -> str:
    """The flag in a word of the command line: with dashes, without its value and "no-"."""
    name = word.split("=")[0].replace("_", "-")
    section, _, last = name.rpartition(".")
    return f"{section}.{last.removeprefix('no-')}" if section else name
