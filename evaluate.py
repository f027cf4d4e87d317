"""Evaluate a checkpoint: metrics beside the oracle's, predictions, the worst images drawn.

python evaluate.py                               # newest best.pt in runs/, or released weights
python evaluate.py --checkpoint FILE --data.root DIR
torchrun --nproc-per-node 8 evaluate.py ...      # on 8 GPUs
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from configs import Config, EvaluateConfig, over_trained
from dbnet.data.places import check_early
from dbnet.inference.weights import find_weights, origin, results_folder, trained_with
from dbnet.runtime import cli
from dbnet.runtime.files import check_output, new_folder
from dbnet.section import to_dict

WRITTEN = (
    "metrics.json",
    "config.json",
    "predictions.json",
    "per_image.json",
    "errors.html",
    "worst",
)


def parse() -> EvaluateConfig:
    """Flags over the settings of the checkpoint to evaluate."""

    def default() -> EvaluateConfig:
        checkpoint = find_weights(cli.value_of("--checkpoint"))
        trained = trained_with(checkpoint, Config, may_import_torch=not cli.asks_for_help())
        return over_trained(EvaluateConfig, trained, checkpoint)

    cfg = cli.parse(EvaluateConfig, default=default, description=__doc__, folder_flag="--data.root")
    check_early(cfg.data, [cfg.split])
    return cfg


if __name__ == "__main__":  # before PyTorch, which takes seconds to import
    with cli.errors_as_lines():
        CFG = parse()

if __name__ != "__mp_main__":  # not in processes that are started beside this one
    import torch
    from tqdm import tqdm

    from dbnet.checkpoint import build_model, load_checkpoint
    from dbnet.data.loaders import val_loader
    from dbnet.data.splits import load_records
    from dbnet.evaluation.report import write_results
    from dbnet.metrics import build_metrics
    from dbnet.metrics.quads import AsQuads
    from dbnet.model.fuse import fuse_batch_norms
    from dbnet.postprocess.postprocessor import DBPostprocessor
    from dbnet.reporting.tables import (
        metrics_table,
        table,
        write_json,
    )
    from dbnet.runtime import distributed
    from dbnet.runtime.device import (
        autocast_dtype,
        resolve_device,
        resolve_precision,
    )
    from dbnet.runtime.memory import keep_freed_memory
    from dbnet.runtime.profiler import StageTimer
    from dbnet.training.engine import evaluate
    from dbnet.training.losses import DBLoss
    from dbnet.training.predictions import evaluate_oracle
    from dbnet.training.scoring import ImageResult
    from dbnet.training.scoring_pool import open_pool


def main(cfg: EvaluateConfig) -> dict[str, float]:
    """Writes metrics.json, predictions.json, per_image.json and worst/; returns the metrics."""
    # ---- Checkpoint, data, parts
    keep_freed_memory()
    checkpoint = cfg.checkpoint or find_weights(None)
    parent = results_folder(checkpoint)
    with distributed.main_first():
        check_output(cfg.out or parent, WRITTEN if cfg.out else ())
    device = resolve_device(cfg.device)
    precision = resolve_precision(cfg.precision, device)
    payload = load_checkpoint(checkpoint)
    model = fuse_batch_norms(build_model(payload))
    model.to(device).to(memory_format=torch.channels_last)
    with distributed.main_first():
        records = load_records(cfg.data, [cfg.split])[cfg.split]
    loader = val_loader(records, cfg.data, cfg.targets)
    postprocess = DBPostprocessor(cfg.postprocess, shrink_ratio=cfg.targets.shrink_ratio)
    metrics = build_metrics(cfg.metric)
    quads = {f"{name}_quads": AsQuads(metric) for name, metric in build_metrics(cfg.metric).items()}
    metrics |= quads

    # ---- The model, then the ground truth itself in its place
    timer = StageTimer(synchronize=None)
    results: list[ImageResult] = []
    print(
        f"weights: {checkpoint}, {origin(checkpoint)}, epoch {payload['epoch']}, "
        f"on {device} in {precision}",
        flush=True,
    )
    own = len(distributed.shard(records))
    bar_style = {"unit": "image", "leave": False, "disable": not distributed.is_main()}
    scoring = open_pool(cfg.data.scoring_workers, postprocess, metrics, device)
    with scoring as pool:
        with tqdm(total=own, desc="evaluate", **bar_style) as bar:

            def keep(result: ImageResult) -> None:
                results.append(result)
                bar.update()

            figures = evaluate(
                model,
                DBLoss(cfg.loss),
                loader,
                postprocess,
                metrics,
                device=device,
                dtype=autocast_dtype(precision),
                timer=timer,
                pool=pool,
                on_image=keep,
            )
        with tqdm(total=own, desc="oracle", **bar_style) as bar:
            oracle = evaluate_oracle(counted(loader, bar.update), postprocess, metrics, pool)

    results = list(chain.from_iterable(distributed.all_gather(results)))
    if not distributed.is_main():
        return figures

    # ---- Tell
    columns = {"model": figures, "as quads": as_quads(figures), "oracle": oracle}
    print(metrics_table(columns))
    print(
        f"loss {figures['loss/total']:.4f} over {figures['images']} images, "
        f"{figures['empty']} of them without a detection, "
        f"{figures['capped']} detections beyond max_candidates"
    )
    seconds = {k: v for k, v in timer.totals().items() if not k.startswith("worker/")}
    total = sum(seconds.values())
    print(
        table(
            ["stage", "seconds", "share"],
            [[k, f"{v:.2f}", f"{v / total:.0%}"] for k, v in seconds.items()],
        )
    )

    # ---- Keep
    out = cfg.out or new_folder(parent, "eval")
    write_json(
        out / "metrics.json",
        figures
        | {f"oracle/{name}": value for name, value in oracle.items()}
        | {f"time/{name}": value for name, value in seconds.items()},
    )
    write_json(out / "config.json", to_dict(cfg) | {"checkpoint": str(checkpoint)})
    title = f"{checkpoint.name} on {cfg.data.root or 'drawn receipts'}, {cfg.split}"
    print(write_results(out, figures, results, records, title=title, draw_worst=cfg.draw_worst))
    print(f"{out}: metrics.json, predictions.json, per_image.json, errors.html, worst/")
    return figures


def as_quads(figures: dict[str, float]) -> dict[str, float]:
    """The figures of outlines taken as their smallest rectangles, under the metrics' own names."""
    return {
        name.replace("_quads/", "/"): value for name, value in figures.items() if "_quads/" in name
    }


def counted(loader, update: Callable[[int], object]):
    """The loader's batches, each reported to a progress bar."""
    for batch in loader:
        yield batch
        update(len(batch.image_ids))


if __name__ == "__main__":
    with cli.errors_as_lines(), distributed.process_group():
        main(CFG)
