"""Train a DBNet text detector.

Examples:
    python train.py --train.epochs 20                # on drawn receipts
    python train.py --data.root DIR --data.check-only
    python train.py --data.root DIR --train.epochs 100
    python train.py --train.resume runs/NAME         # go on where it stopped
    torchrun --nproc-per-node 8 train.py ...         # on 8 GPUs
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from configs import Config
from dbnet.runtime import cli
from dbnet.runtime.run_files import BEST
from dbnet.runtime.unused import refuse_unused
from dbnet.training.folder import StoredRun, read_run, refuse_early
from dbnet.training.settings import TrainingSettings


def parse() -> tuple[TrainingSettings, StoredRun | None]:
    """Flags over defaults, and None; with --train.resume, over that run's settings, and the run."""
    cls: type[TrainingSettings] = Config
    resumed = cli.value_of("--train.resume")
    stored = cache(lambda: read_run(Path(resumed), cls) if resumed else None)

    def default() -> TrainingSettings:
        earlier = stored()
        return earlier.config if earlier else cls()

    cfg = cli.parse(cls, default=default, description=__doc__, folder_flag="--data.root")
    refuse_unused(cfg, "train")
    refuse_early(cfg)
    return cfg, stored()


if __name__ == "__main__":  # before PyTorch, which takes seconds to import
    with cli.errors_as_lines():
        STARTED = parse()

if __name__ != "__mp_main__":  # spawned processes import this file too, and need none of this
    import torch

    from dbnet.data import loaders
    from dbnet.reporting.pictures import draw_targets
    from dbnet.runtime import distributed
    from dbnet.training.engine import train_one_epoch
    from dbnet.training.losses import DBLoss
    from dbnet.training.network import build_network, for_training
    from dbnet.training.optim import build_ema, build_optimizer
    from dbnet.training.run import Run, load_last
    from dbnet.training.setup import load_records, set_up
    from dbnet.training.state import TrainState
    from dbnet.training.validation import Validation


def main(cfg: TrainingSettings, earlier: StoredRun | None = None) -> Path:
    """Train as `cfg` says; returns the run folder. `earlier`: the run to resume, if it is read."""
    # ---- Device, precision, seeds
    cfg, earlier, device, dtype = set_up(cfg, earlier)

    # ---- Data
    records = load_records(cfg)  # ends here with --data.check-only or --data.fill-cache
    caches = loaders.open_caches(cfg.data, cfg.targets)
    loader = loaders.train_loader(
        records["train"], cfg.data, cfg.augment, cfg.targets, seed=cfg.train.seed, caches=caches
    )
    val_loader = loaders.val_loader(records["val"], cfg.data, cfg.targets, caches=caches)

    # ---- Model, loss, optimizer
    with distributed.main_first():
        last = load_last(cfg)
        model, weights = build_network(cfg, device, resumed=last is not None)
    network = for_training(model, cfg, device)
    criterion = DBLoss(cfg.loss)
    steps = -(-len(loader) // cfg.train.accumulate)
    optimizer, scheduler = build_optimizer(
        model, cfg.optim, steps_per_epoch=steps, epochs=cfg.train.epochs,
        max_steps=cfg.train.max_steps,
    )  # fmt: skip
    scaler = torch.amp.GradScaler(device.type, enabled=cfg.train.precision == "fp16")
    state = TrainState(model, optimizer, scheduler, scaler, build_ema(model, cfg.train.ema))

    # ---- Run: a new one, or the one to resume
    images = {split: len(found) for split, found in records.items()}
    run = Run(cfg, state, last, earlier, weights=weights, images=images)
    validation = Validation(state.averaged, criterion, val_loader, records, cfg, device, dtype)

    # ---- Epochs
    with run.training(), validation:
        if run.is_new:
            validation.check()
            run.draw("first_batch", lambda: draw_targets(loaders.first_samples(loader, 6)))
        while not run.is_over():
            batch_sizes = run.start_epoch(loader)
            asked_before = caches.counts()
            train_one_epoch(
                network, criterion, run.batches(loader), state, batch_sizes=batch_sizes,
                device=device, dtype=dtype, accumulate=cfg.train.accumulate,
                grad_clip=cfg.train.clip, timer=run.log.timer, on_step=run.on_step,
            )  # fmt: skip
            record = run.log.end_training()
            if run.is_validated():
                record |= validation.figures(run.stop.is_asked)
                run.stop_if_asked()  # here: a validation that was cut short has no figures
            record |= caches.figures(since=asked_before)
            is_best = run.end_epoch(record)
            validation.draw(run.log, examples=is_best)
            run.stop_if_asked()
    print(f"best CLEval hmean {state.best:.4f}: {run.folder / BEST}; see examples.jpg beside it")
    return run.folder


if __name__ == "__main__":
    with cli.errors_as_lines(), distributed.process_group():
        main(*STARTED)
