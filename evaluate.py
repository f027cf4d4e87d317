"""Evaluate a checkpoint: metrics, predictions, the worst images drawn.

Examples:
    python evaluate.py                               # on drawn receipts
    python evaluate.py --data.root DIR --checkpoint FILE
    python evaluate.py --data.root DIR --tile auto   # long images in windows
    python evaluate.py --data.root DIR --split train --sweep  # find thresholds
    torchrun --nproc-per-node 8 evaluate.py ...      # on 8 GPUs
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from configs import Config, EvaluateConfig, over_trained
from dbnet.data.places import check_early
from dbnet.inference.weights import describe, find_weights, results_folder, trained_with
from dbnet.runtime import cli
from dbnet.runtime.files import check_output, new_folder
from dbnet.runtime.torchrun import is_started_by_torchrun
from dbnet.runtime.unused import refuse_unused
from dbnet.section import to_dict

WRITTEN = (
    "metrics.json",
    "config.json",
    "predictions.json",
    "per_image.json",
    "errors.html",
    "worst",
)
SWEPT = ("sweep.json", "sweep.png", "config.json")


def parse() -> EvaluateConfig:
    """Flags over the settings of the checkpoint to evaluate."""

    def default() -> EvaluateConfig:
        checkpoint = find_weights(cli.value_of("--checkpoint"))
        trained = trained_with(checkpoint, Config, may_import_torch=not cli.asks_for_help())
        return over_trained(EvaluateConfig, trained, checkpoint)

    cfg = cli.parse(EvaluateConfig, default=default, description=__doc__, folder_flag="--data.root")
    if cfg.sweep:
        cli.refuse_torchrun("--sweep runs in one process")
    refuse_unused(cfg, "evaluate")
    check_early(cfg.data, [cfg.split])
    if not is_started_by_torchrun():  # with torchrun, rank 0 checks in main()
        check_out(cfg)
    return cfg


def check_out(cfg: EvaluateConfig) -> None:
    """See that the results can be written."""
    parent = results_folder(cfg.checkpoint or find_weights(None))
    written = SWEPT if cfg.sweep else WRITTEN
    check_output(cfg.out or parent, written if cfg.out else ())


if __name__ == "__main__":  # before PyTorch, which takes seconds to import
    with cli.errors_as_lines():
        CFG = parse()

if __name__ != "__mp_main__":  # spawned processes import this file too, and need none of this
    import torch

    from dbnet.checkpoint import build_model, load_checkpoint
    from dbnet.data.annotations.files import number_of
    from dbnet.data.splits import load_records
    from dbnet.evaluation.report import write_results, write_sweep
    from dbnet.evaluation.score import score, score_sweep, score_tiled
    from dbnet.evaluation.sweep import SweepResult
    from dbnet.inference.tiling import needed_side
    from dbnet.inference.turning import needed_turn
    from dbnet.model.fuse import fuse_batch_norms
    from dbnet.reporting.tables import metrics_table, write_json
    from dbnet.runtime import distributed
    from dbnet.runtime.device import autocast_dtype, resolve_device, resolve_precision
    from dbnet.runtime.memory import keep_freed_memory
    from dbnet.structures import ImageResult


def main(cfg: EvaluateConfig) -> dict[str, float]:
    """Write metrics.json, predictions.json, per_image.json, errors.html and worst/; with --sweep,
    write sweep.json and sweep.png. Returns the metrics, with --sweep those of the best setting."""
    # ---- Where to write, before any work
    keep_freed_memory()
    checkpoint = cfg.checkpoint or find_weights(None)
    parent = results_folder(checkpoint)
    with distributed.main_first():
        check_out(cfg)

    # ---- Network and images
    device = resolve_device(cfg.device)
    precision = resolve_precision(cfg.precision, device)
    payload = load_checkpoint(checkpoint)
    model = fuse_batch_norms(build_model(payload))
    model.to(device).to(memory_format=torch.channels_last)
    with distributed.main_first():
        records = load_records(cfg.data, [cfg.split])[cfg.split]
    print(
        f"weights: {describe(checkpoint)}, epoch {payload['epoch']}, on {device} in {precision}",
        flush=True,
    )

    # ---- Score a grid of settings, or the given ones
    dtype = autocast_dtype(precision)
    stored = to_dict(cfg) | {"checkpoint": str(checkpoint)}
    if cfg.sweep:
        swept = score_sweep(cfg, model, records, device=device, dtype=dtype)
        return write_thresholds(cfg, swept, parent, stored)
    figures, oracle, seconds, results = (score_tiled if cfg.tile == "auto" else score)(
        cfg, model, records, device=device, dtype=dtype
    )
    if not distributed.is_main():
        return figures
    print_figures(figures, oracle)
    if cfg.tile == "off" and (line := other_scales_line(results, cfg.data.image_size)):
        print(line)
    out = cfg.out or new_folder(parent, "eval")
    write_json(
        out / "metrics.json",
        figures
        | {f"oracle/{name}": value for name, value in oracle.items()}
        | {f"time/{name}": value for name, value in seconds.items()},
    )
    write_json(out / "config.json", stored)
    title = f"{checkpoint.name} on {cfg.data.root or 'drawn receipts'}, {cfg.split}"
    print(write_results(out, figures, results, records, title=title, draw_worst=cfg.draw_worst))
    print(f"{out}: errors.html, worst/, metrics.json, predictions.json")
    return figures


def print_figures(figures: dict[str, float], oracle: dict[str, float]) -> None:
    """The table of the metrics, and the counts of images that are unlike the others."""
    rows = {"outlines": figures, "as quads": as_quads(figures)}
    print(metrics_table(rows | ({"oracle": oracle} if oracle else {})))
    counts = {
        "in windows": figures.get("in_windows", 0),
        "at a smaller scale": figures.get("reduced", 0),
        "turned": figures.get("turned", 0),
        "without a detection": figures["empty"],
    }
    if any(counts.values()):
        named = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        print(f"{number_of(int(figures['images']), 'image')}, of which {named}")


def other_scales_line(results: Sequence[ImageResult], image_size: int) -> str | None:
    """What to say where predict.py would read some of the images once more; else None."""
    others = 0
    for result in results:
        factor = image_size / max(result.size)
        polygons = [polygon * factor for polygon in result.detections.polygons]
        others += (
            needed_turn(polygons, result.size) != 0
            or needed_side(polygons, image_size, result.size) is not None
        )
    if not others:
        return None
    return (
        f"{others} of {len(results)} images: predict.py reads them at another scale or turned "
        "(--tile auto)"
    )


def write_thresholds(
    cfg: EvaluateConfig, results: list[SweepResult], parent: Path, stored: dict[str, object]
) -> dict[str, float]:
    """Write and print the results of --sweep; returns the figures of the best setting."""
    out = cfg.out or new_folder(parent, "sweep")
    write_json(out / "config.json", stored)
    print(write_sweep(out, results, given=cfg.postprocess, split=cfg.split))
    print(f"{out}: sweep.json, sweep.png")
    return results[0].figures


def as_quads(figures: dict[str, float]) -> dict[str, float]:
    """The figures of outlines taken as their smallest rectangles, under the metrics' own names."""
    return {
        name.replace("_quads/", "/"): value for name, value in figures.items() if "_quads/" in name
    }


if __name__ == "__main__":
    with cli.errors_as_lines(), distributed.process_group():
        main(CFG)
