"""Resuming a run: which settings may change, and what is refused."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from dbnet.errors import InputError
from dbnet.runtime.run_files import CONFIG, LAST
from dbnet.section import flat, to_dict
from dbnet.training.folder import StoredRun, is_of_this_launch, read_run
from dbnet.training.settings import TrainingSettings

# Settings that may change when a run is resumed: its length, and those that do not change weights.
# Not data.cache: cached threshold maps are rounded by up to 1/510 of their range, so weights
# trained with and without the cache differ. The cache's folder makes no difference.
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
    cfg: TrainingSettings, earlier: StoredRun | None, *, restarts: int
) -> tuple[TrainingSettings, StoredRun | None]:
    """The settings, and the stored run to resume; None for a new run.

    If torchrun has restarted the ranks, --train.resume is set to the folder of the run.

    Args:
        earlier: the stored run, if it has been read.
        restarts: the largest count over ranks. Machines that lost no rank have a count of 0.

    Raises:
        InputError: the run has no fixed name, so its folder cannot be found; or its settings cannot
            be read.
    """
    if cfg.train.resume:
        return cfg, earlier or read_run(cfg.train.resume, type(cfg))
    if not restarts:
        return cfg, None
    if not cfg.train.name:
        raise InputError("torchrun --max-restarts: needs --train.name, to find the run again")
    folder = cfg.train.out / cfg.train.name
    if not (folder / LAST).exists() or not is_of_this_launch(folder, type(cfg)):
        return cfg, None
    print(f"{folder}: torchrun has restarted the ranks", flush=True)
    train = dataclasses.replace(cfg.train, resume=folder)
    return dataclasses.replace(cfg, train=train), read_run(folder, type(cfg))


def refuse_other_run(
    cfg: TrainingSettings,
    earlier: StoredRun,
    last: Mapping[str, Any],
    *,
    images: dict[str, int],
    ranks: int,
) -> None:
    """Refuse to resume a run that is finished, or with other settings or data.

    Args:
        last: the last.pt of the run.
        images: number of images in each split.

    Raises:
        InputError: nothing is left to do, or the settings or numbers of images differ.
    """
    folder, built = earlier.folder, earlier.built
    if not built:
        path = folder / CONFIG
        raise InputError(f"{path}: lacks what was built; use a folder that train.py made")
    refuse_other_settings(cfg, earlier.config, ranks=ranks, earlier_ranks=built.get("ranks", 1))
    refuse_finished(cfg, last)
    if built["images"] != images:
        raise InputError(
            f"{folder}: was trained on {built['images']} images, this data set has {images}; "
            "start a new run with --model.weights instead"
        )


def refuse_finished(cfg: TrainingSettings, last: Mapping[str, Any]) -> None:
    """Refuse to resume a run that has ended by its epochs, its steps or its patience.

    Raises:
        InputError: nothing is left to do; names the setting to raise.
    """
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
    # A run that was stopped between its last step and its last validation still has to validate.
    images = last.get("running", {}).get("images", last.get("seen", 0))  # earlier versions: seen
    lacks_figures = images > 0 and not last.get("finished", False)
    steps = last["scheduler"]["last_epoch"] if "scheduler" in last else 0
    if train.max_steps is not None and steps >= train.max_steps and not lacks_figures:
        raise InputError(
            f"{folder}: has {steps} optimizer steps already; give a larger --train.max-steps"
        )


def refuse_other_settings(
    cfg: TrainingSettings, earlier: TrainingSettings, *, ranks: int, earlier_ranks: int
) -> None:
    """Print the settings that change when the run is resumed.

    --data.batch-size and --train.accumulate may change if the number of images per optimizer step
    is the same as before. This is for another number of ranks, or for too little memory.

    Raises:
        InputError: a setting has changed that must not change.
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
