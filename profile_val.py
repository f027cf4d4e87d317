"""Find out where validation time goes.

Examples:
    python profile_val.py --data.drawn-val 60        # on drawn receipts
    python profile_val.py --model.encoder resnet50   # random weights
    python profile_val.py --baseline runs/profile-OLD/profile.json
    python profile_val.py --compare-reference        # with the slow reference
    torchrun --nproc-per-node 8 profile_val.py ...   # on 8 GPUs
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from configs import Config, ProfileConfig, over_trained
from dbnet.data.places import check_early
from dbnet.errors import InputError
from dbnet.inference.weights import describe, find_weights, trained_with
from dbnet.model.names import refuse_unknown
from dbnet.reporting.baseline import read_profile
from dbnet.runtime import cli
from dbnet.runtime.files import check_output, new_folder
from dbnet.runtime.run_files import RUNS
from dbnet.runtime.torchrun import is_started_by_torchrun
from dbnet.runtime.unused import refuse_unused
from dbnet.section import to_dict
from dbnet.settings import ModelConfig

WRITTEN = ("profile.json", "report.md", "stages.png", "batches.png", "trace.json")


def parse() -> ProfileConfig:
    """Flags over the settings of the checkpoint to profile, or of a network of random weights."""
    cli.rename_flag("--compare-naive", "--compare-reference")

    def default() -> ProfileConfig:
        named = cli.value_of("--checkpoint")
        asked = cli.value_of("--model.encoder") or cli.value_of("--model.fpn-channels")
        if asked and not named:
            return ProfileConfig()
        checkpoint = find_weights(named)
        trained = trained_with(checkpoint, Config, may_import_torch=not cli.asks_for_help())
        return over_trained(ProfileConfig, trained, checkpoint)

    cfg = cli.parse(ProfileConfig, default=default, description=__doc__, folder_flag="--data.root")
    if cfg.compare_reference:
        cli.refuse_torchrun("--compare-reference times one process")
    refuse_unused(cfg, "profile_val")
    check_early(cfg.data, ["val"])
    if cfg.model.encoder:
        refuse_unknown(cfg.model.encoder)
    if not is_started_by_torchrun():  # with torchrun, rank 0 checks in main()
        check_out(cfg)
        if cfg.baseline:
            read_profile(cfg.baseline)
    return cfg


def check_out(cfg: ProfileConfig) -> None:
    """See that the results can be written."""
    check_output(cfg.out or RUNS, WRITTEN if cfg.out else ())


if __name__ == "__main__":  # before PyTorch, which takes seconds to import
    with cli.errors_as_lines():
        CFG = parse()

if __name__ != "__mp_main__":  # spawned processes import this file too, and need none of this
    import torch

    from dbnet.checkpoint import build_model, load_checkpoint
    from dbnet.data.loaders import open_caches, val_loader
    from dbnet.data.splits import load_records
    from dbnet.evaluation.timed import (
        ExtraTimings,
        Measured,
        TimedValidation,
        forward_alone,
        measure,
        time_reference,
        trace,
        train_step,
        warm_up,
    )
    from dbnet.metrics import build_metrics
    from dbnet.model.dbnet import DBNet
    from dbnet.postprocess.postprocessor import DBPostprocessor
    from dbnet.reference.pipeline import reference_pipeline
    from dbnet.reporting.figures import is_host, memory_entries, stage_figures
    from dbnet.reporting.findings import findings
    from dbnet.reporting.measure import timer_seconds
    from dbnet.reporting.profile import profile_report, screen_summary, write_profile
    from dbnet.reporting.recording import commit, machine_facts
    from dbnet.reporting.tables import changes_table
    from dbnet.runtime import distributed
    from dbnet.runtime.device import (
        autocast_dtype,
        describe_precision,
        resolve_device,
        resolve_precision,
    )
    from dbnet.runtime.memory import keep_freed_memory
    from dbnet.runtime.profiler import MACHINE, check_comparable, compare_profiles, missing_facts
    from dbnet.runtime.workers import usable_cores
    from dbnet.structures import Record
    from dbnet.training.caps import CapCounter
    from dbnet.training.losses import DBLoss
    from dbnet.training.scoring_pool import choose_workers


class Network(NamedTuple):
    """The network to profile, and what its checkpoint tells."""

    model: DBNet
    args: dict[str, Any]  # of DBNet
    epoch: int | None
    step: int | None


def main(cfg: ProfileConfig) -> dict[str, Any]:
    """Writes profile.json, report.md, stages.png, batches.png and TensorBoard scalars; returns the
    profile.

    Where there are several ranks, the stages are rank 0's; metrics, caches and images are those of
    all, and the validation's time is the slowest one's. Other ranks return an empty dict.
    """
    # ---- Set-up, network, data
    keep_freed_memory()
    with distributed.main_first():
        check_out(cfg)
    device = resolve_device(cfg.device)
    precision = resolve_precision(cfg.precision, device)
    network = load_network(cfg)
    with distributed.main_first():
        # Other ranks have other devices: only rank 0 compares.
        baseline = read_profile(cfg.baseline) if cfg.baseline and distributed.is_main() else None
        records = enough_records(cfg)
        facts = run_facts(cfg, network, device, precision)
        compared = compared_settings(cfg, network, facts, len(records), str(device), precision)
        if baseline:
            check_comparable(baseline["compared"], compared)
    validation = open_validation(cfg, network.model, records, device, precision)
    reference = open_reference(cfg, validation, records) if cfg.compare_reference else None
    weights = describe(cfg.checkpoint) if cfg.checkpoint else "random"
    print(f"weights: {weights}, on {device} in {precision}", flush=True)

    # ---- Warm-up, measurement; the forward pass before and after, for a machine's speed drifts
    resident = warm_up(validation, batch_size=cfg.data.batch_size, batches=cfg.warmup)
    before = forward_alone(validation, resident)
    measured = measure(validation, CapCounter(cfg.postprocess, cfg.metric))
    out = distributed.on_main(lambda: cfg.out or new_folder(RUNS, "profile"))
    if cfg.trace:
        trace(validation, out)
    if not distributed.is_main():
        return {}
    after = forward_alone(validation, resident)
    alone = before.seconds + after.seconds
    extra = ExtraTimings(
        forward=median(alone) * validation.images / len(resident.images),
        waited=(before.waited + after.waited) / sum(alone),
        train_step=train_step(validation, resident, cfg.train_steps),
        reference=time_reference(reference) if reference else None,
        timer=timer_seconds(device),
    )

    # ---- Report
    profile = put_together(cfg, records, measured, extra) | {
        "run": facts | measured.recording.times(),
        "compared": compared,
        "config": to_dict(cfg) | {"model": network.args},
    }
    report = profile_report(profile)
    print(screen_summary(profile))
    write_profile(out, profile, report)
    trace_file = ", trace.json" if cfg.trace else ""
    print(f"{out}: report.md, profile.json, stages.png, batches.png{trace_file}")
    if baseline:
        compare(baseline, profile, cfg)
    return profile


def load_network(cfg: ProfileConfig) -> Network:
    """The checkpoint's network, or one of random weights that are the same on all ranks."""
    if cfg.checkpoint:
        payload = load_checkpoint(cfg.checkpoint)
        model = build_model(payload)
        return Network(model, payload["model_args"], payload.get("epoch"), payload.get("step"))
    default = ModelConfig()
    args: dict[str, Any] = {
        "encoder": cfg.model.encoder or default.encoder,
        "fpn_channels": cfg.model.fpn_channels or default.fpn_channels,
    }
    torch.manual_seed(0)
    model = DBNet(**args)
    print("no checkpoint: RANDOM weights; post-process and metric see noise, not text")
    return Network(model, args, None, None)


def enough_records(cfg: ProfileConfig) -> Sequence[Record]:
    """The validation images, at least one for each rank."""
    records, ranks = load_records(cfg.data, ["val"])["val"], distributed.world()
    if len(records) < ranks:
        raise InputError(f"{len(records)} images are too few for {ranks} ranks; start fewer")
    return records


def run_facts(
    cfg: ProfileConfig, network: Network, device: torch.device, precision: str
) -> dict[str, Any]:
    """Machine, versions, weights and code of this run."""
    workers = choose_workers(cfg.data.scoring_workers, device, distributed.local_world())
    return machine_facts(device) | {
        "epoch": network.epoch,
        "trainer/global_step": network.step,
        "commit": commit(),
        "precision": describe_precision(precision, device),
        "auto_precision": resolve_precision("auto", device),
        "loader_workers": min(cfg.data.num_workers, usable_cores()),
        "scoring_workers": workers,
    }


def compared_settings(
    cfg: ProfileConfig,
    network: Network,
    facts: dict[str, Any],
    images: int,
    device: str,
    precision: str,
) -> dict[str, Any]:
    """What two profiles must share to be compared."""
    data = to_dict(cfg.data)
    read = ("image_size", "batch_size", "num_workers", "cache", "root")
    drawn = ("drawn_val", "drawn_seed", "drawn_level", "drawn_style")
    settings = {f"data.{name}": data[name] for name in read + drawn}
    for section in ("targets", "postprocess", "metric"):
        settings[section] = to_dict(getattr(cfg, section))
    ranks = distributed.world()
    where = {"device": device, "precision": precision, "images": images, "ranks": ranks}
    machine = {name: facts[name] for name in (*MACHINE, "scoring_workers")}
    return settings | network.args | where | machine


def open_validation(
    cfg: ProfileConfig,
    model: DBNet,
    records: Sequence[Record],
    device: torch.device,
    precision: str,
) -> TimedValidation:
    """The validation of train.py with these settings."""
    caches = open_caches(cfg.data, cfg.targets)
    return TimedValidation(
        model=model.to(device).to(memory_format=torch.channels_last),
        criterion=DBLoss(cfg.loss),
        loader=val_loader(records, cfg.data, cfg.targets, caches=caches),
        caches=caches,
        postprocess=DBPostprocessor(cfg.postprocess, shrink_ratio=cfg.targets.shrink_ratio),
        metrics=build_metrics(cfg.metric),
        device=device,
        dtype=autocast_dtype(precision),
        scoring_workers=cfg.data.scoring_workers,
        images=len(distributed.shard(records)),
    )


def open_reference(
    cfg: ProfileConfig, validation: TimedValidation, records: Sequence[Record]
) -> TimedValidation:
    """The validation with the reference's targets, post-process and metrics, without caches."""
    loader, postprocess, metrics = reference_pipeline(
        records, cfg.data, cfg.targets, cfg.postprocess, cfg.metric
    )
    return validation._replace(loader=loader, postprocess=postprocess, metrics=metrics)


def put_together(
    cfg: ProfileConfig, records: Sequence[Record], measured: Measured, extra: ExtraTimings
) -> dict[str, Any]:
    """The measured part of profile.json."""
    host_stages = sum(len(d) for name, d in measured.durations.items() if is_host(name))
    return (
        stage_figures(measured.durations)
        | memory_entries(measured.memory)
        | {
            "performance/val_epoch_time": measured.epoch_time,
            "performance/images_per_second": len(records) / measured.epoch_time,
            "performance/forward_alone_s": extra.forward,
            "performance/over_forward": measured.epoch_time / extra.forward,
            "performance/waited_for_core": measured.waited,
            "performance/waited_for_core_alone": extra.waited,
            "performance/train_step_s": extra.train_step,
            "performance/timer_overhead_s": extra.timer * host_stages,
            "images": len(records),
            "ranks": distributed.world(),
            "cache": measured.cache,
            "metrics": measured.metrics,
            "limits": measured.limits,
            "reference": extra.reference,
            "series": {"stages": measured.durations}
            | measured.recording.series(cfg.data.batch_size),
            "slowest": measured.recording.slowest(records),
            "checkpoint": str(cfg.checkpoint) if cfg.checkpoint else None,
            "torch": torch.__version__,
        }
    )


def compare(baseline: dict[str, Any], profile: dict[str, Any], cfg: ProfileConfig) -> None:
    """Print the changes; exit status 1 where a stage has become slower."""
    changes = compare_profiles(baseline, profile, cfg.tolerance)
    print(changes_table(changes))
    if names := missing_facts(baseline["compared"]):
        print(
            f"{cfg.baseline} lacks {', '.join(names)}; "
            "the comparison holds only on the same machine"
        )
    slower = [change.stage for change in changes if change.regressed]
    if slower:
        busy = "; this machine is busy: measure again" if findings(profile).is_busy else ""
        sys.exit(f"slower than {cfg.baseline}: {', '.join(slower)}{busy}")
    print(f"no stage is slower than {cfg.baseline} beyond {cfg.tolerance:.0%} and the noise")


if __name__ == "__main__":
    with cli.errors_as_lines(), distributed.process_group():
        main(CFG)
