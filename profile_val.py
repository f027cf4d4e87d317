"""Find out where validation time goes.

python profile_val.py                            # newest best.pt in runs/, or released weights
python profile_val.py --model.encoder resnet50   # random weights
python profile_val.py --baseline runs/profile-OLD/profile.json
python profile_val.py --compare-naive            # the textbook path in the same run
torchrun --nproc-per-node 8 profile_val.py ...   # on 8 GPUs, each with its share of the images
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from configs import Config, ProfileConfig, over_trained
from dbnet.data.places import check_early
from dbnet.errors import InputError
from dbnet.inference.weights import RUNS, find_weights, origin, trained_with
from dbnet.runtime import cli
from dbnet.runtime.files import check_output, new_folder
from dbnet.runtime.torchrun import is_started_by_torchrun
from dbnet.runtime.unused import refuse_unused
from dbnet.section import to_dict
from dbnet.settings import ModelConfig

WRITTEN = ("profile.json", "report.md", "stages.png", "batches.png", "trace.json")


def parse() -> ProfileConfig:
    """Flags over the settings of the checkpoint to profile, or of a network of random weights."""

    def default() -> ProfileConfig:
        named = cli.value_of("--checkpoint")
        asked = cli.value_of("--model.encoder") or cli.value_of("--model.fpn-channels")
        if asked and not named:
            return ProfileConfig()
        checkpoint = find_weights(named)
        trained = trained_with(checkpoint, Config, may_import_torch=not cli.asks_for_help())
        return over_trained(ProfileConfig, trained, checkpoint)

    cfg = cli.parse(ProfileConfig, default=default, description=__doc__, folder_flag="--data.root")
    if cfg.compare_naive:
        cli.refuse_torchrun("--compare-naive times one process")
    refuse_unused(cfg, "profile_val")
    check_early(cfg.data, ["val"])
    if not is_started_by_torchrun():  # of several ranks, rank 0 tells it in main()
        check_out(cfg)
        if cfg.baseline:
            read_profile(cfg.baseline)
    return cfg


def check_out(cfg: ProfileConfig) -> None:
    """See that the results can be written."""
    check_output(cfg.out or Path("runs"), WRITTEN if cfg.out else ())


def read_profile(path: Path) -> dict[str, Any]:
    """An earlier profile.json.

    Raises:
        InputError: it cannot be read, or is another file.
    """
    try:
        profile = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a profile ({error})") from None
    if not isinstance(profile, dict) or not {"stages", "compared", "config"} <= profile.keys():
        raise InputError(f"{path}: not a profile.json of profile_val.py")
    # Earlier versions knew of one rank only, and did not compare what was drawn.
    level = profile["config"]["data"].get("drawn_level", "words")
    compared = {
        "ranks": 1,
        "scoring_workers": 0,
        "data.drawn_level": level,
        "data.drawn_style": "plain",
    }
    compared |= profile["compared"]
    return profile | {"compared": compared}


if __name__ == "__main__":  # before PyTorch, which takes seconds to import
    with cli.errors_as_lines():
        CFG = parse()

if __name__ != "__mp_main__":  # spawned processes import this file too, and need none of this
    import numpy as np
    import torch
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

    from dbnet.checkpoint import build_model, load_checkpoint
    from dbnet.data.loaders import first_samples, open_caches, val_loader
    from dbnet.data.splits import load_records
    from dbnet.data.storage.caches import CacheCounts
    from dbnet.metrics import build_metrics
    from dbnet.model.dbnet import DBNet
    from dbnet.postprocess.postprocessor import DBPostprocessor
    from dbnet.reporting.measure import (
        forward_seconds,
        timer_seconds,
        training_step_seconds,
        write_trace,
    )
    from dbnet.reporting.pictures import draw_batches, draw_stages
    from dbnet.reporting.profile import profile_report
    from dbnet.reporting.recording import Recording, commit, machine_facts
    from dbnet.reporting.tables import (
        changes_table,
        write_json,
        write_picture,
        write_text,
    )
    from dbnet.runtime import distributed
    from dbnet.runtime.device import (
        autocast_dtype,
        describe_precision,
        memory_figures,
        resolve_device,
        resolve_precision,
        wait_for,
    )
    from dbnet.runtime.memory import keep_freed_memory
    from dbnet.runtime.profiler import (
        MACHINE,
        StageTimer,
        check_comparable,
        compare_profiles,
        summarize,
    )
    from dbnet.structures import ImageResult
    from dbnet.training.caps import CapCounter
    from dbnet.training.engine import evaluate
    from dbnet.training.losses import DBLoss
    from dbnet.training.scoring_pool import choose_workers, open_pool


def main(cfg: ProfileConfig) -> dict[str, Any]:
    """Writes profile.json, report.md, stages.png and TensorBoard scalars; returns the profile.

    Where there are several ranks, the stages are rank 0's; metrics, caches and images are those of
    all, and the validation's time is the slowest one's.
    """
    # ---- What is profiled
    keep_freed_memory()
    with distributed.main_first():
        check_out(cfg)
    device = resolve_device(cfg.device)
    precision = resolve_precision(cfg.precision, device)
    where: dict[str, Any] = {"device": device, "dtype": autocast_dtype(precision)}
    ranks = distributed.world()
    checkpoint = cfg.checkpoint
    if checkpoint:
        payload = load_checkpoint(checkpoint)
        model_args = payload["model_args"]
        model = build_model(payload)
    else:
        network = ModelConfig()
        model_args = {
            "encoder": cfg.model.encoder or network.encoder,
            "fpn_channels": cfg.model.fpn_channels or network.fpn_channels,
        }
        torch.manual_seed(0)  # all ranks draw the same
        model = DBNet(**model_args)
        print("no checkpoint: RANDOM weights; post-process and metric see noise, not text")
    model.to(device).to(memory_format=torch.channels_last)
    criterion = DBLoss(cfg.loss)
    with distributed.main_first():
        # Other ranks have other devices: only rank 0 compares.
        baseline = read_profile(cfg.baseline) if cfg.baseline and distributed.is_main() else None
        records = load_records(cfg.data, ["val"])["val"]
        images = len(records)
        if images < ranks:
            raise InputError(f"{images} images are too few for {ranks} ranks; start fewer")
        facts = machine_facts(device)
        compared = compared_settings(cfg, model_args, str(device), precision, images, ranks)
        workers = choose_workers(cfg.data.scoring_workers, device, distributed.local_world())
        compared |= {name: facts[name] for name in MACHINE} | {"scoring_workers": workers}
        if baseline:
            check_comparable(baseline["compared"], compared)
    caches = open_caches(cfg.data, cfg.targets)
    loader = val_loader(records, cfg.data, cfg.targets, caches=caches)
    postprocess = DBPostprocessor(cfg.postprocess, shrink_ratio=cfg.targets.shrink_ratio)
    metrics = build_metrics(cfg.metric)
    naive_parts = None
    if cfg.compare_naive:
        from dbnet.reference.pipeline import reference_pipeline

        naive_parts = reference_pipeline(
            records, cfg.data, cfg.targets, cfg.postprocess, cfg.metric
        )
    told = f"{checkpoint}, {origin(checkpoint)}," if checkpoint else "random,"
    print(f"weights: {told} on {device} in {precision}", flush=True)

    own = len(distributed.shard(records))
    progress = partial(tqdm, leave=False, disable=not distributed.is_main())

    def validate(title, batches, timer, scoring=(postprocess, metrics), record=None):
        with (
            open_pool(cfg.data.scoring_workers, *scoring, device) as pool,
            progress(total=own, desc=title, unit="image") as bar,
        ):

            def on_image(result: ImageResult) -> None:
                bar.update()
                if record:
                    record(result)

            return evaluate(
                model,
                criterion,
                batches,
                *scoring,
                **where,
                timer=timer,
                pool=pool,
                on_image=on_image,
            )

    # ---- Warm-up: workers start, caches fill; then allocators and kernels
    for _ in progress(loader, desc="fill caches", unit="batch"):
        pass
    resident = first_samples(loader, cfg.data.batch_size)
    if cfg.warmup:
        validate("warm-up", [resident] * cfg.warmup, StageTimer(synchronize=None))
    forward_alone = partial(forward_seconds, model, resident, **where, repeats=5)
    # Before and after: the speed of a machine drifts.
    alone = forward_alone() if distributed.is_main() else []

    # ---- The validation as it really runs. On the CPU each stage ends before the next begins. A
    # GPU works on its own: its stages are timed in a second pass, which waits for it after each.
    served = caches.counts()
    distributed.barrier()  # no rank's time includes waiting for others that still fill caches
    timer = StageTimer(synchronize=None)
    started = time.perf_counter()
    recording = Recording()
    caps = CapCounter(cfg.postprocess, cfg.metric)

    def keep(result: ImageResult) -> None:
        recording(result)
        caps(result)

    figures = validate("validation", loader, timer, record=keep)
    epoch_time = max(distributed.all_gather(time.perf_counter() - started))
    memory = memory_figures(device)
    asked = {name: np.subtract(now, served[name]) for name, now in caches.counts().items()}
    asked = {name: distributed.all_reduce_sum(counts).astype(int) for name, counts in asked.items()}
    cache = {name: CacheCounts(*counts.tolist())._asdict() for name, counts in asked.items()}
    if wait_for(device):
        timer = StageTimer(synchronize=wait_for(device))
        validate("stages", loader, timer)
    limits = caps.lines()
    out = distributed.on_main(lambda: cfg.out or new_folder(RUNS, "profile"))
    if cfg.trace:
        trace = partial(validate, "trace", islice(loader, 3), StageTimer(synchronize=None))
        if distributed.is_main():
            write_trace(out / "trace.json", trace)
        else:
            trace()
    if not distributed.is_main():
        return {}

    # ---- For comparison: the forward pass alone, a training step, the textbook path
    alone += forward_alone()
    alone_time = median(alone) * own / len(resident.images)
    train_step = 0.0
    if cfg.train_steps:
        train_step = training_step_seconds(
            model, criterion, resident, **where, steps=cfg.train_steps
        )
    naive = None
    if naive_parts:
        naive_loader, *naive_rest = naive_parts
        next(iter(naive_loader))  # its workers start
        naive_timer = StageTimer(synchronize=None)
        started = time.perf_counter()
        validate("textbook", naive_loader, naive_timer, tuple(naive_rest))
        naive = naive_timer.totals() | {"wall": time.perf_counter() - started}

    # ---- The profile
    stages = {name: summarize(values) for name, values in timer.durations.items()}
    host = {name: s for name, s in stages.items() if not name.startswith("worker/")}
    batches = zip(*(timer.durations[name] for name in host), strict=True)
    batch = summarize([*map(sum, batches)])
    profile = {
        "performance/val_batch_mean": batch.mean,
        "performance/val_batch_median": batch.median,
        "performance/val_batch_p95": batch.p95,
        "performance/val_batch_p99": batch.p99,
        "performance/val_batch_std": batch.std,
        "performance/val_epoch_time": epoch_time,
        "performance/val_num_batches": batch.count,
        "performance/gpu_memory_gb": memory.get("gpu_allocated_gb", 0.0),
        "performance/gpu_memory_reserved_gb": memory.get("gpu_reserved_gb", 0.0),
        "performance/gpu_memory_peak_gb": memory.get("gpu_peak_gb", 0.0),
        "performance/cpu_memory_percent": memory["rss_peak_percent"],
        "performance/rss_peak_gb": memory["rss_peak_gb"],
        "performance/images_per_second": images / epoch_time,
        "performance/forward_alone_s": alone_time,
        "performance/over_forward": epoch_time / alone_time,
        "performance/train_step_s": train_step,
        "performance/timer_overhead_s": timer_seconds(device) * sum(s.count for s in host.values()),
        "bottleneck": max(host, key=lambda name: host[name].total),
        "images": images,
        "ranks": ranks,
        "cache": cache,
        "metrics": figures,
        "limits": limits,
        "stages": {name: vars(s) for name, s in stages.items()},
        "naive": naive,
        "series": {"stages": timer.durations} | recording.series(cfg.data.batch_size),
        "slowest": recording.slowest(records),
        "run": facts
        | {
            "_timestamp": recording.started,
            "_runtime": time.time() - recording.started,
            "epoch": payload.get("epoch") if checkpoint else None,
            "trainer/global_step": payload.get("step") if checkpoint else None,
            "commit": commit(),
            "precision": describe_precision(precision, device),
            "scoring_workers": workers,
        },
        "compared": compared,
        "config": to_dict(cfg) | {"model": model_args},
        "checkpoint": str(checkpoint) if checkpoint else None,
        "torch": torch.__version__,
    }

    # ---- Print and write it
    report = profile_report(profile)
    print(report)
    write_json(out / "profile.json", profile)
    pictures = "![stages](stages.png)\n\n![stages over the batches](batches.png)\n"
    write_text(out / "report.md", f"{report}\n\n{pictures}")
    bar = draw_stages({name: s.mean for name, s in host.items()})
    write_picture(out / "stages.png", bar)
    over_batches = draw_batches({name: timer.durations[name] for name in host})
    write_picture(out / "batches.png", over_batches)
    with SummaryWriter(out) as writer:
        for name, value in profile.items():
            if name.startswith("performance/"):
                writer.add_scalar(name, value, 0)
        for name, s in stages.items():
            writer.add_scalar(f"stages/{name}", s.mean, 0)
        writer.add_image("stages", bar, 0, dataformats="HWC")
        writer.add_image("batches", over_batches, 0, dataformats="HWC")
    trace_file = ", trace.json" if cfg.trace else ""
    print(f"{out}: profile.json, report.md, stages.png, batches.png{trace_file}")

    # ---- Compare it with the baseline
    if baseline:
        changes = compare_profiles(baseline, profile, cfg.tolerance)
        print(changes_table(changes))
        slower = [change.stage for change in changes if change.regressed]
        if slower:
            sys.exit(f"slower than {cfg.baseline}: {', '.join(slower)}")
        print(f"no stage is slower than {cfg.baseline} beyond {cfg.tolerance:.0%} and the noise")
    return profile


def compared_settings(
    cfg: ProfileConfig,
    model_args: dict[str, Any],
    device: str,
    precision: str,
    images: int,
    ranks: int,
) -> dict[str, Any]:
    """What two profiles must share to be compared."""
    data = to_dict(cfg.data)
    read = ("image_size", "batch_size", "num_workers", "cache", "root")
    drawn = ("drawn_val", "drawn_seed", "drawn_level", "drawn_style")
    settings = {f"data.{name}": data[name] for name in read + drawn}
    for section in ("targets", "postprocess", "metric"):
        settings[section] = to_dict(getattr(cfg, section))
    where = {"device": device, "precision": precision, "images": images, "ranks": ranks}
    return settings | model_args | where


if __name__ == "__main__":
    with cli.errors_as_lines(), distributed.process_group():
        main(CFG)
