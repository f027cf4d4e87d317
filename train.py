"""Train a DBNet text detector.

python train.py                                  # on drawn receipts
python train.py --data.root DIR --train.epochs 100
python train.py --train.resume runs/NAME         # go on where it stopped
torchrun --nproc-per-node 8 train.py ...         # on 8 GPUs
"""

from __future__ import annotations

import dataclasses
import sys
import time
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from configs import Config
from dbnet.errors import InputError, Stopped
from dbnet.header import read_header
from dbnet.runtime import cli, torchrun
from dbnet.section import flat, to_dict
from dbnet.training.run import (
    after_restart,
    claim,
    new_run_folder,
    read_run_config,
    refuse_other_run,
    resumable,
    where_it_stands,
)


def parse() -> Config:
    """Flags over defaults; with --train.resume RUN, over that run's own settings."""

    def default() -> Config:
        folder = cli.value_of("--train.resume")
        return read_run_config(Path(folder), Config) if folder else Config()

    cfg = cli.parse(Config, default=default, description=__doc__, folder_flag="--data.root")
    refuse_early(cfg)
    return cfg


def refuse_early(cfg: Config) -> None:
    """Raise InputError for what the file system alone shows to be wrong."""
    if cfg.train.resume is not None or torchrun.is_started_by_torchrun():
        return  # of several ranks only rank 0 tells what is wrong, later
    if cfg.model.weights is not None:
        read_header(cfg.model.weights)
    named = cfg.train.out / (cfg.train.name or "")
    if cfg.train.name and named.exists():
        raise InputError(
            f"{named}: exists; choose another --train.name, or go on with --train.resume {named}"
        )


if __name__ == "__main__":  # before PyTorch, which takes seconds to import
    with cli.errors_as_lines():
        CFG = parse()

if __name__ != "__mp_main__":  # not in processes that are started beside this one
    import torch

    from dbnet.checkpoint import (
        Training,
        check_room,
        load_checkpoint,
        load_weights,
        save_checkpoint,
    )
    from dbnet.data import loaders, splits
    from dbnet.inference.torch_network import predict_batch
    from dbnet.metrics import build_metrics
    from dbnet.model.backbone import load_imagenet, sync_batchnorm
    from dbnet.model.compiled import FullBatchesCompiled
    from dbnet.model.dbnet import DBNet
    from dbnet.postprocess.postprocessor import DBPostprocessor
    from dbnet.reporting.pictures import draw_predictions, draw_targets
    from dbnet.reporting.tables import write_json
    from dbnet.runtime import distributed
    from dbnet.runtime.device import (
        autocast_dtype,
        memory_figures,
        resolve_device,
        resolve_precision,
        seed_everything,
        seed_other_ranks,
    )
    from dbnet.runtime.files import remove_leftovers
    from dbnet.runtime.memory import keep_freed_memory
    from dbnet.runtime.profiler import StageTimer
    from dbnet.training.engine import StepReport, evaluate, train_one_epoch
    from dbnet.training.logger import RunLogger
    from dbnet.training.losses import DBLoss
    from dbnet.training.optim import build_ema, build_optimizer
    from dbnet.training.scoring_pool import open_pool
    from dbnet.training.signals import StopSignals


def main(cfg: Config) -> Path:
    """Train as `cfg` says; returns the run folder with last.pt and best.pt."""
    # ---- Device and seeds
    keep_freed_memory()
    restarts = distributed.all_reduce_max(torchrun.restarts())
    cfg = distributed.on_main(partial(after_restart, cfg, restarts=restarts))
    with distributed.main_first():
        device = resolve_device(cfg.train.device)
    precision = resolve_precision(cfg.train.precision, device)
    cfg = replace_train(cfg, device=str(device), precision=precision)
    dtype = autocast_dtype(precision)
    seed_everything(cfg.train.seed, deterministic=cfg.train.deterministic)

    # ---- Data
    if cfg.data.check_only:
        sys.exit(distributed.on_main(partial(splits.check, cfg.data, ["train", "val"])))
    with distributed.main_first():
        records = splits.load_records(cfg.data, ["train", "val"])
    if cfg.data.fill_cache:
        sys.exit(loaders.fill_cache(records, cfg.data, cfg.augment, cfg.targets))
    caches = loaders.open_caches(cfg.data, cfg.targets)
    loader = loaders.train_loader(
        records["train"], cfg.data, cfg.augment, cfg.targets, seed=cfg.train.seed, caches=caches
    )
    val_loader = loaders.val_loader(records["val"], cfg.data, cfg.targets, caches=caches)
    images = {split: len(found) for split, found in records.items()}

    # ---- Model, loss, optimizer
    model_args = {"encoder": cfg.model.encoder, "fpn_channels": cfg.model.fpn_channels}
    with distributed.main_first():
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
        if cfg.train.sync_batchnorm:
            model = sync_batchnorm(model, device)
        model.to(device, memory_format=torch.channels_last)
        model.encoder.recompute = cfg.train.recompute_encoder
    network = model
    if cfg.train.compile:
        network = FullBatchesCompiled(model=model, batch_size=cfg.data.batch_size)
    network = distributed.parallel(network, device)
    criterion = DBLoss(cfg.loss)
    optimizer, scheduler = build_optimizer(
        model,
        cfg.optim,
        steps_per_epoch=-(-len(loader) // cfg.train.accumulate),
        epochs=cfg.train.epochs,
    )
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    ema = build_ema(model, cfg.train.ema)
    averaged = model if ema is None else ema.module
    training = Training(model, optimizer, scheduler, scaler, ema)
    postprocess = DBPostprocessor(cfg.postprocess, shrink_ratio=cfg.targets.shrink_ratio)
    predict = partial(predict_batch, postprocess=postprocess, device=device, dtype=dtype)
    metrics = build_metrics(cfg.metric)

    # ---- Run folder, or the state of the one to continue
    first_epoch = step = 0
    running = None  # of the log, where an epoch was begun
    best = -1.0
    folder: Path
    if resumed and cfg.train.resume:
        folder = cfg.train.resume
        first_epoch = resumed["epoch"]
        with distributed.main_first():
            earlier = read_run_config(folder, Config)
            built = refuse_other_run(
                cfg, earlier, epochs_done=first_epoch, images=images, ranks=distributed.world()
            )
            check_room(folder, training)
            training.load_state_dict(resumed)
            step, best = resumed["step"], resumed["best"]
            running = resumed.get("running")  # earlier versions saved at the ends of epochs only
            if (folder / "best.pt").exists():  # after a kill it may be newer than last.pt
                header = read_header(folder / "best.pt")  # None: by an earlier version
                known = header.best if header else load_checkpoint(folder / "best.pt")["best"]
                best = max(best, known if known is not None else best)
        cfg = replace_train(cfg, resume=None)
    else:
        with distributed.main_first():
            check_room(cfg.train.out, training)
        folder = distributed.on_main(partial(new_run_folder, cfg, restarts=restarts))
        parameters = sum(p.numel() for p in model.parameters())
        built = {
            "weights": weights,
            "parameters": parameters,
            "images": images,
            "torch": torch.__version__,
        }
    with distributed.main_first():
        claimed = claim(folder) if distributed.is_main() else nullcontext()
    built |= {"ranks": distributed.world(), "launch": torchrun.launch()}
    distributed.main_only(write_json)(folder / "config.json", to_dict(cfg) | {"built": built})
    print_config(cfg, built)
    seed_other_ranks(cfg.train.seed, step)
    log = RunLogger(
        folder=folder, epochs=cfg.train.epochs, epoch=first_epoch, step=step, running=running
    )
    done = f", {log.images} images of the first one are done" if log.images else ""
    epochs = f"epochs {first_epoch + 1} to {cfg.train.epochs}"
    print(f"{folder}: {epochs} on {device} in {precision}{done}", flush=True)

    # ---- Checkpoints at step borders: after a given time, and when asked to stop
    described = {"model_args": model_args, "config": to_dict(cfg)}
    saved = time.monotonic()

    @distributed.main_only
    def save_last(epoch: int, seen: int) -> None:
        nonlocal saved
        position = {"epoch": epoch, "seen": seen, "step": log.step, "running": log.running()}
        state = training.state_dict() | {"best": best}
        log.flush()  # what the resumed run will not log again
        remove_leftovers(folder)
        save_checkpoint(folder / "last.pt", described | position | state)
        saved = time.monotonic()

    def stop_if_asked(epoch: int, seen: int) -> None:
        number = distributed.all_reduce_max(stop.received or 0)
        if number:
            save_last(epoch, seen)
            distributed.barrier()  # once a rank has left, torchrun ends the others
            raise Stopped(number, where_it_stands(folder, number, epoch, seen, images["train"]))

    def on_step(report: StepReport) -> None:
        log.on_step(report)
        if report.grad_norm is None:
            return  # gradients of half a step are in hand
        stop_if_asked(log.epoch, log.images)
        if time.monotonic() - saved >= 60 * cfg.train.save_minutes:
            save_last(log.epoch, log.images)

    @distributed.main_only
    def draw_first_batch() -> None:
        log.image("first_batch", draw_targets(loaders.first_samples(loader, 6)))

    @distributed.main_only
    def draw_examples() -> None:
        examples = loaders.first_samples(val_loader, 4)
        log.image("examples", draw_predictions(examples, *predict(averaged, examples)))

    # ---- Epochs
    scoring = open_pool(cfg.data.scoring_workers, postprocess, metrics, device)
    with claimed, resumable(folder), closing(log), StopSignals() as stop, scoring as pool:
        if step == 0:
            draw_first_batch()
        for epoch in range(first_epoch, cfg.train.epochs):
            loader.sampler.epoch, loader.sampler.start = epoch, log.images
            batch_sizes = loaders.batch_sizes(loader)
            asked_before = caches.counts()
            log.start_epoch(epoch, len(batch_sizes))
            train_one_epoch(
                network,
                criterion,
                loader,
                optimizer,
                scheduler,
                scaler,
                batch_sizes=batch_sizes,
                device=device,
                dtype=dtype,
                accumulate=cfg.train.accumulate,
                grad_clip=cfg.train.clip,
                ema=ema,
                timer=log.timer,
                on_step=on_step,
            )
            record = log.end_training()

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
                    pool=pool,
                    is_stopped=lambda: stop.received is not None,
                )
                stop_if_asked(log.epoch, log.images)  # without figures, but with the epoch
                record["val/seconds"] = time.perf_counter() - started
                record |= {f"val/{name}": value for name, value in figures.items()}
                record |= {f"time_val/{name}": value for name, value in timer.totals().items()}
            record |= caches.figures(since=asked_before)
            record |= {f"memory/{name}": value for name, value in memory_figures(device).items()}

            # ---- Checkpoints: best first, so that a kill in between loses none
            hmean = record.get("val/cleval/hmean", -1.0)
            if hmean > best:
                best = hmean
                weights_only = {"model": averaged.state_dict(), "ema": None, "epoch": epoch + 1}
                payload = described | weights_only | {"best": best}
                distributed.main_only(save_checkpoint)(folder / "best.pt", payload)
            log.end_epoch(record)  # a kill before the next line makes the epoch's line again
            save_last(epoch + 1, 0)
            if "val/cleval/hmean" in record:
                draw_examples()
            if not is_last:
                stop_if_asked(epoch + 1, 0)
    print(f"best CLEval hmean {best:.4f}: {folder / 'best.pt'}; look at {folder / 'examples.jpg'}")
    return folder


def replace_train(cfg: Config, **changes: Any) -> Config:
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, **changes))


def print_config(cfg: Config, built: dict[str, object]) -> None:
    """What differs from the defaults, a line each; all of it is in config.json."""
    defaults = flat(to_dict(Config()))
    for name, value in flat(to_dict(cfg)).items():
        if value != defaults[name]:
            print(f"{name:24s}{value}")
    for name, value in built.items():
        print(f"{name:24s}{value}")


if __name__ == "__main__":
    with cli.errors_as_lines(), distributed.process_group():
        main(CFG)
