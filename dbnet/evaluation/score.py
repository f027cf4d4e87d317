"""Scores a network: on fitted images, on images as predict.py reads them, by a grid of settings."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple, Protocol

import torch
from tqdm import tqdm

from dbnet.data.loaders import val_loader
from dbnet.evaluation.report import predict_maps
from dbnet.evaluation.sweep import SweepResult, grid, steps, store_maps, sweep
from dbnet.evaluation.tiled import evaluate_tiled
from dbnet.inference.torch_network import torch_network
from dbnet.metrics import Metric, build_metrics
from dbnet.metrics.quads import AsQuads
from dbnet.model.dbnet import DBNet
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.runtime import distributed
from dbnet.runtime.profiler import StageTimer
from dbnet.settings import (
    EvalDataConfig,
    LossConfig,
    MetricConfig,
    PostprocessConfig,
    TargetsConfig,
)
from dbnet.structures import Batch, ImageResult, Record
from dbnet.training.caps import CapCounter
from dbnet.training.engine import evaluate
from dbnet.training.losses import DBLoss
from dbnet.training.predictions import evaluate_oracle
from dbnet.training.scoring_pool import open_pool


class EvaluationSettings(Protocol):
    """The sections that scoring depends on; `EvaluateConfig` of configs.py has them."""

    @property
    def data(self) -> EvalDataConfig: ...

    @property
    def targets(self) -> TargetsConfig: ...

    @property
    def loss(self) -> LossConfig: ...

    @property
    def postprocess(self) -> PostprocessConfig: ...

    @property
    def metric(self) -> MetricConfig: ...


class Scores(NamedTuple):
    """What an evaluation found."""

    figures: dict[str, float]
    oracle: dict[str, float]  # figures of the ground truth in the network's place
    seconds: dict[str, float]  # by stage, of this process
    results: list[ImageResult]  # one for every image of all ranks


def score(
    cfg: EvaluationSettings,
    model: DBNet,
    records: Sequence[Record],
    *,
    device: torch.device,
    dtype: torch.dtype | None,
) -> Scores:
    """Run and score the model. Prints the limits that left detections out."""
    loader = val_loader(records, cfg.data, cfg.targets)
    postprocess = DBPostprocessor(cfg.postprocess, shrink_ratio=cfg.targets.shrink_ratio)
    metrics = _all_metrics(cfg)
    timer = StageTimer(synchronize=None)
    results: list[ImageResult] = []
    own_images = len(distributed.shard(records))
    progress = partial(
        tqdm, total=own_images, unit="image", leave=False, disable=not distributed.is_main()
    )
    with open_pool(cfg.data.scoring_workers, postprocess, metrics, device) as pool:
        with progress(desc="evaluate") as bar:

            def keep(result: ImageResult) -> None:
                results.append(result)
                bar.update()

            figures = evaluate(
                model, DBLoss(cfg.loss), loader, postprocess, metrics,
                device=device, dtype=dtype, timer=timer, pool=pool, on_image=keep,
            )  # fmt: skip
        with progress(desc="oracle") as bar:
            oracle = evaluate_oracle(_counted(loader, bar.update), postprocess, metrics, pool)
    seconds = {k: v for k, v in timer.totals().items() if not k.startswith("worker/")}
    return Scores(figures, oracle, seconds, _gathered(results, cfg))


def score_tiled(
    cfg: EvaluationSettings,
    model: DBNet,
    records: Sequence[Record],
    *,
    device: torch.device,
    dtype: torch.dtype | None,
) -> Scores:
    """The same with --tile auto. There are no losses and no figures of the ground truth, for both
    need target maps of one size."""
    timer = StageTimer(synchronize=None)
    own_images = len(distributed.shard(records))
    with tqdm(
        total=own_images, desc="evaluate", unit="image", leave=False,
        disable=not distributed.is_main(),
    ) as bar:  # fmt: skip
        figures, results = evaluate_tiled(
            records,
            torch_network(model, device=device, dtype=dtype, compiled=False),
            _all_metrics(cfg),
            postprocess=cfg.postprocess,
            shrink_ratio=cfg.targets.shrink_ratio,
            image_size=cfg.data.image_size,
            batch_size=cfg.data.batch_size,
            threads=max(1, cfg.data.num_workers),
            timer=timer,
            on_detected=bar.update,
        )
    return Scores(figures, {}, timer.totals(), _gathered(results, cfg))


def score_sweep(
    cfg: EvaluationSettings,
    model: DBNet,
    records: Sequence[Record],
    *,
    device: torch.device,
    dtype: torch.dtype | None,
) -> list[SweepResult]:
    """Every setting of the grid, the best first: the network runs once, all are scored on its
    maps."""
    loader = val_loader(records, cfg.data, cfg.targets)
    settings = grid(cfg.postprocess)
    progress = partial(tqdm, unit="image", leave=False)
    with progress(total=len(records), desc="network") as bar:
        maps = predict_maps(model, _counted(loader, bar.update), device=device, dtype=dtype)
        with store_maps(maps) as found:
            bar.close()
            with progress(total=steps(settings, len(records)), desc="sweep") as bar:
                return sweep(
                    found,
                    settings,
                    partial(DBPostprocessor, shrink_ratio=cfg.targets.shrink_ratio),
                    build_metrics(cfg.metric),
                    bar.update,
                )


def _all_metrics(cfg: EvaluationSettings) -> dict[str, Metric]:
    """The metrics of the outlines as they are, and as quads."""
    quads = {f"{name}_quads": AsQuads(each) for name, each in build_metrics(cfg.metric).items()}
    return build_metrics(cfg.metric) | quads


def _gathered(results: list[ImageResult], cfg: EvaluationSettings) -> list[ImageResult]:
    """The results of all ranks. Prints the limits that left detections out."""
    caps = CapCounter(cfg.postprocess, cfg.metric)
    for result in results:
        caps(result)
    everything = list(chain.from_iterable(distributed.all_gather(results)))
    for line in caps.lines():
        distributed.main_only(print)(line, flush=True)
    return everything


def _counted(loader: Iterable[Batch], update: Callable[[int], object]) -> Iterator[Batch]:
    """The loader's batches, each reported to a progress bar."""
    for batch in loader:
        yield batch
        update(len(batch.image_ids))
