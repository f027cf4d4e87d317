"""Train a DBNet text detector.

python train.py                                  # on drawn receipts
python train.py --data.root DIR --train.epochs 100
python train.py --train.resume runs/NAME         # go on where it stopped
"""

import dataclasses
import json
import sys
import time
from functools import partial
from pathlib import Path

from cli import parse_train, read_run_config, run
from configs import Config, to_dict
from dbnet.errors import InputError


def main(cfg: Config) -> Path:
    """Train as `cfg` says; returns the run folder with last.pt and best.pt."""
    # torch is imported here and not above, so that --help answers at once.
    import torch

    import build
    from dbnet.checkpoint import load_checkpoint, load_weights, save_checkpoint
    from dbnet.device import (
        autocast_dtype,
        keep_freed_memory,
        memory_figures,
        resolve_device,
        resolve_precision,
        rng_state,
        seed_everything,
        set_rng_state,
    )
    from dbnet.engine import evaluate, train_one_epoch
    from dbnet.losses import DBLoss
    from dbnet.model.backbone import load_imagenet
    from dbnet.model.dbnet import DBNet
    from dbnet.optim import build_ema, build_optimizer
    from dbnet.profiler import StageTimer
    from dbnet.report import write_json
    from dbnet.runlog import RunLog
    from dbnet.visualize import draw_predictions, draw_targets

    # ---- Device and seeds
    keep_freed_memory()
    device = resolve_device(cfg.train.device)
    precision = resolve_precision(cfg.train.precision, device)
    cfg = replace_train(cfg, device=str(device), precision=precision)
    dtype = autocast_dtype(precision)
    seed_everything(cfg.train.seed, deterministic=cfg.train.deterministic)

    # ---- Data
    if cfg.data.check_only:
        sys.exit(build.check(cfg.data, ["train", "val"]))
    records = build.load_records(cfg.data, ["train", "val"])
    if cfg.data.fill_cache:
        sys.exit(build.fill_cache(records, cfg.data, cfg.augment, cfg.targets))
    caches = build.open_caches(cfg.data, cfg.targets)
    loader = build.train_loader(
        records["train"], cfg.data, cfg.augment, cfg.targets, seed=cfg.train.seed, caches=caches
    )
    val_loader = build.val_loader(records["val"], cfg.data, cfg.targets, caches=caches)
    batch_sizes = build.batch_sizes(loader)
    images = {split: len(found) for split, found in records.items()}

    # ---- Model, loss, optimizer
    model_args = {"encoder": cfg.model.encoder, "fpn_channels": cfg.model.fpn_channels}
    model = DBNet(**model_args)
    resumed = load_checkpoint(cfg.train.resume / "last.pt") if cfg.train.resume else None
    weights = "random"
    if cfg.model.weights and not resumed:
        load_weights(model, load_checkpoint(cfg.model.weights))
        weights = str(cfg.model.weights)
    elif cfg.model.pretrained and not resumed:
        failure = load_imagenet(model.encoder, cfg.model.encoder)
        weights = f"random: {failure}" if failure else "imagenet"
        if failure:
            print(f"WARNING: training starts from RANDOM weights: {failure}", flush=True)
    model.to(device, memory_format=torch.channels_last)
    criterion = DBLoss(**vars(cfg.loss))
    optimizer, scheduler = build_optimizer(
        model,
        **vars(cfg.optim),
        steps_per_epoch=-(-len(batch_sizes) // cfg.train.accumulate),
        epochs=cfg.train.epochs,
    )
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    ema = build_ema(model, cfg.train.ema)
    postprocess = build.postprocessor(cfg.postprocess, cfg.targets)
    predict = partial(build.predict, postprocess=postprocess, device=device, dtype=dtype)
    metrics = build.metrics(cfg.metric)

    # ---- Run folder, or the state of the one to continue
    first_epoch = step = 0
    best = -1.0
    if resumed:
        folder = cfg.train.resume
        refuse_other_settings(cfg, read_run_config(folder))
        model.load_state_dict(resumed["model"])
        optimizer.load_state_dict(resumed["optimizer"])
        scheduler.load_state_dict(resumed["scheduler"])
        scaler.load_state_dict(resumed["scaler"])
        if ema is not None:
            ema.module.load_state_dict(resumed["ema"])
            ema.n_averaged.fill_(resumed["ema_updates"])
        set_rng_state(resumed["rng"])
        first_epoch, step, best = resumed["epoch"], resumed["step"], resumed["best"]
        if first_epoch >= cfg.train.epochs:
            raise InputError(
                f"{folder}: has its {first_epoch} epochs already; give a larger --train.epochs"
            )
        built = json.loads((folder / "config.json").read_text(encoding="utf-8"))["built"]
        if built["images"] != images:
            raise InputError(
                f"{folder}: was trained on {built['images']} images, this data set has {images}; "
                "start a new run with --model.weights instead"
            )
        cfg = replace_train(cfg, resume=None)
    else:
        folder = new_run_folder(cfg)
        parameters = sum(p.numel() for p in model.parameters())
        built = {
            "weights": weights,
            "parameters": parameters,
            "images": images,
            "torch": torch.__version__,
        }
    write_json(folder / "config.json", to_dict(cfg) | {"built": built})
    print_config(cfg, built)
    log = RunLog(folder=folder, epochs=cfg.train.epochs, epoch=first_epoch, step=step)
    print(f"{folder}: epochs {first_epoch + 1} to {cfg.train.epochs} on {device} in {precision}")

    # ---- Epochs
    if first_epoch == 0:
        log.image("first_batch", draw_targets(build.first_samples(loader, 6)))
    examples = build.first_samples(val_loader, 4)
    for epoch in range(first_epoch, cfg.train.epochs):
        loader.sampler.epoch = epoch
        asked_before = caches.counts()
        timer = StageTimer(synchronize=None)
        log.start_epoch(epoch, len(batch_sizes), timer)
        train_one_epoch(
            model,
            criterion,
            loader,
            optimizer,
            scheduler,
            scaler,
            batch_sizes=batch_sizes,
            device=device,
            dtype=dtype,
            accumulate=cfg.train.accumulate,
            clip=cfg.train.clip,
            ema=ema,
            timer=timer,
            on_step=log.on_step,
        )
        record = log.end_training()

        averaged = model if ema is None else ema.module
        is_last = epoch + 1 == cfg.train.epochs
        if (epoch + 1) % cfg.train.val_every == 0 or is_last:
            timer = StageTimer(synchronize=None)
            started = time.perf_counter()
            figures = evaluate(
                averaged,
                criterion,
                val_loader,
                postprocess,
                metrics,
                device=device,
                dtype=dtype,
                timer=timer,
            )
            record["val/seconds"] = time.perf_counter() - started
            record |= {f"val/{name}": value for name, value in figures.items()}
            record |= {f"time_val/{name}": value for name, value in timer.totals().items()}
        record |= caches.figures(since=asked_before)
        record |= {f"memory/{name}": value for name, value in memory_figures(device).items()}

        # ---- Checkpoints: best first, so that a stop in between repeats this epoch alike
        hmean = record.get("val/cleval/hmean", -1.0)
        common = {"model_args": model_args, "config": to_dict(cfg), "epoch": epoch + 1}
        if hmean > best:
            best = hmean
            weights_only = {"model": averaged.state_dict(), "ema": None}
            save_checkpoint(folder / "best.pt", common | weights_only | {"best": best})
        state = {
            "model": model.state_dict(),
            "ema": None if ema is None else ema.module.state_dict(),
            "ema_updates": 0 if ema is None else int(ema.n_averaged),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "scaler": scaler.state_dict(),
            "rng": rng_state(),
            "step": log.step,
            "best": best,
        }
        log.end_epoch(record)  # a stop before the next line makes this epoch, and its line, again
        save_checkpoint(folder / "last.pt", common | state)
        if "val/cleval/hmean" in record:
            log.image("examples", draw_predictions(examples, *predict(averaged, examples)))
    log.close()
    print(f"best CLEval hmean {best:.4f}: {folder / 'best.pt'}; look at {folder / 'examples.jpg'}")
    return folder


def replace_train(cfg: Config, **changes: object) -> Config:
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, **changes))


def new_run_folder(cfg: Config) -> Path:
    """Make the folder; an existing one is never written into.

    Raises:
        ValueError: it exists, or cannot be made.
    """
    folder = cfg.train.out / (cfg.train.name or time.strftime("%Y%m%d-%H%M%S"))
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        go_on = f"go on with --train.resume {folder}"
        if not (folder / "last.pt").exists():
            go_on = "delete it, it holds no checkpoint"
        raise InputError(f"{folder}: exists; choose another --train.name, or {go_on}") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None
    return folder


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
    "train.val_every",
    "train.device",
    "train.out",
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


def print_config(cfg: Config, built: dict[str, object]) -> None:
    for section, values in (to_dict(cfg) | {"built": built}).items():
        items = flat(values).items() if isinstance(values, dict) else [("", values)]
        print(f"{section:12s}" + ", ".join(f"{name} {value}" for name, value in items))


if __name__ == "__main__":
    run(main, parse_train)
