"""Going on with a run: which settings may change, and what is refused."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dbnet.errors import InputError
from dbnet.runtime.run_files import CONFIG, LAST
from dbnet.section import flat, to_dict
from dbnet.training.folder import Config, StoredRun, is_of_this_launch, read_run

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
    "train.max_steps",
    "train.patience",
    "train.log_every",
    "train.low_recall",
    "train.low_recall_images",
    "train.save_minutes",
    "train.val_every",
    "train.device",
    "train.recompute_encoder",
    "train.resume",
}


def run_to_resume(
    cfg: Config, earlier: StoredRun | None, *, restarts: int
) -> tuple[Config, StoredRun | None]:
    """`cfg` with --train.resume also where torchrun has started the ranks again, and the stored
    settings of the run to go on with; None for a new run.

    Args:
        earlier: where it is read already.
        restarts: the most that a rank knows of; the machines that lost none count none.

    Raises:
        InputError: the run has no fixed name, so that its folder cannot be known; or its settings
            cannot be read.
    """
    if cfg.train.resume:
        return cfg, earlier or read_run(cfg.train.resume, type(cfg))
    if not restarts:
        return cfg, None
    if not cfg.train.name:
        raise InputError("torchrun --max-restarts: needs --train.name, to find the run again")
    folder: Path = cfg.train.out / cfg.train.name
    if not (folder / LAST).exists() or not is_of_this_launch(folder, type(cfg)):
        return cfg, None
    print(f"{folder}: torchrun has started the ranks again", flush=True)
    train = dataclasses.replace(cfg.train, resume=folder)
    return dataclasses.replace(cfg, train=train), read_run(folder, type(cfg))


def refuse_other_run(
    cfg: Config, earlier: StoredRun, last: Mapping[str, Any], *, images: dict[str, int], ranks: int
) -> None:
    """Refuse what would make `cfg.train.resume` another run.

    Args:
        last: its last.pt.
        images: of each split.

    Raises:
        InputError: nothing is left to do, or it had other settings or images.
    """
    folder, built = cfg.train.resume, earlier.built
    if not built:
        path = folder / CONFIG
        raise InputError(f"{path}: lacks what was built; use a folder that train.py made")
    refuse_other_settings(cfg, earlier.config, ranks=ranks, earlier_ranks=built.get("ranks", 1))
    _refuse_finished(cfg, last)
    if built["images"] != images:
        raise InputError(
            f"{folder}: was trained on {built['images']} images, this data set has {images}; "
            "start a new run with --model.weights instead"
        )


def _refuse_finished(cfg: Config, last: Mapping[str, Any]) -> None:
    folder, train, stale = cfg.train.resume, cfg.train, last.get("stale", 0)
    if last["epoch"] >= train.epochs:
        raise InputError(
            f"{folder}: has its {last['epoch']} epochs already; give a larger --train.epochs"
        )
    if train.patience is not None and stale >= train.patience:
        raise InputError(
            f"{folder}: has ended after {stale} validations without a better CLEval hmean; "
            "give a larger --train.patience, or None"
        )
    # Stopped between its last step and the figures of that step, a run has these to make yet.
    lacks_figures = last.get("seen", 0) > 0 and not last.get("finished", False)
    steps = last["scheduler"]["last_epoch"] if "scheduler" in last else 0
    if train.max_steps is not None and steps >= train.max_steps and not lacks_figures:
        raise InputError(
            f"{folder}: has {steps} optimizer steps already; give a larger --train.max-steps"
        )


def refuse_other_settings(cfg: Config, earlier: Config, *, ranks: int, earlier_ranks: int) -> None:
    """Print the changes that a resumed run takes on.

    --data.batch-size and --train.accumulate may change together, so that a step is over as many
    images as before: with another number of ranks, or where memory was too little.

    Raises:
        InputError: a setting has changed that must not.
    """
    now, before = flat(to_dict(cfg)), flat(to_dict(earlier))
    changed = {name for name in now if now[name] != before[name]}
    allowed = set(RESUME_MAY_CHANGE)
    if earlier.optim.schedule == "cosine":
        allowed -= {"train.epochs", "train.max_steps"}  # the whole curve depends on them
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
        if {"train.epochs", "train.max_steps"} & set(refused):
            listed += " (the cosine schedule spans the whole run)"
        raise InputError(
            f"{cfg.train.resume}: a resumed run keeps its settings, but {listed}; "
            "start a new run with --model.weights instead"
        )
    for name in sorted(changed - {"train.resume"}):
        print(f"resumed with {name}: {before[name]} -> {now[name]}")
