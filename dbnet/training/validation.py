"""Validation of the network in training."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import nn

from dbnet.data.loaders import first_samples
from dbnet.data.workers import Loader
from dbnet.inference.torch_network import predict_batch
from dbnet.metrics import build_metrics
from dbnet.model.dbnet import DBNet
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.reporting.pictures import draw_predictions
from dbnet.runtime import distributed
from dbnet.runtime.profiler import StageTimer
from dbnet.structures import Batch, ImageResult, Record
from dbnet.training.caps import CapCounter
from dbnet.training.engine import evaluate
from dbnet.training.logger import RunLogger
from dbnet.training.low_recall import LowRecall, draw_low_recall
from dbnet.training.scoring_pool import open_pool
from dbnet.training.settings import TrainingSettings


class Validation:
    """Validates a network with its current weights at each call.

    Use it in a `with` block: scoring workers run until its end.

    Args:
        model: the network; the averaged one if there is one.
        loader: yields the validation images of this rank.
        records: of each split, "val" included.
        cfg: settings of train.py.
        dtype: of autocast; None for full float32.
    """

    def __init__(
        self,
        model: DBNet,
        criterion: nn.Module,
        loader: Loader,
        records: Mapping[str, Iterable[Record]],
        cfg: TrainingSettings,
        device: torch.device,
        dtype: torch.dtype | None,
    ) -> None:
        self.model, self.criterion, self.loader = model, criterion, loader
        self.records = records["val"]
        self.low_recall = LowRecall(
            threshold=cfg.train.low_recall, most=cfg.train.low_recall_images
        )
        self.postprocess = DBPostprocessor(cfg.postprocess, shrink_ratio=cfg.targets.shrink_ratio)
        self.metrics = build_metrics(cfg.metric)
        self._postprocess_cfg, self._metric_cfg = cfg.postprocess, cfg.metric
        self.device, self.dtype = device, dtype
        self._scoring_workers = cfg.data.scoring_workers
        self._open = ExitStack()

    def __enter__(self) -> "Validation":
        pool = open_pool(self._scoring_workers, self.postprocess, self.metrics, self.device)
        self._pool = self._open.enter_context(pool)
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def check(self) -> None:
        """Validate the first batch without using its figures.

        A metric, data set or post-process with an error thus fails before the first epoch. No
        random numbers are drawn, and the training is not changed.

        Raises:
            InputError, RuntimeError: as `evaluate`.
        """
        count = min(self.loader.batch_size, len(self.loader.sampler))
        batches = [first_samples(self.loader, count)] if count else []  # a rank may have none
        self._evaluate(batches, StageTimer(synchronize=None))

    def figures(self, is_stopped: Callable[[], bool]) -> dict[str, float]:
        """Losses, metrics and times over all images of all ranks.

        Prints a line for each limit that has left detections out.

        Args:
            is_stopped: called after every batch. If it returns true on one rank, the pass ends.

        Returns:
            {"val/cleval/hmean": ..., "val/seconds": ..., "time_val/forward": ...}. Only the times
            if it was stopped.
        """
        timer = StageTimer(synchronize=None)
        caps = CapCounter(self._postprocess_cfg, self._metric_cfg)
        started = time.perf_counter()

        def look(result: ImageResult) -> None:
            self.low_recall.add(result)
            caps(result)

        figures = self._evaluate(self.loader, timer, on_image=look, is_stopped=is_stopped)
        for line in caps.lines():
            distributed.main_only(print)(line, flush=True)
        record = {"val/seconds": time.perf_counter() - started}
        record |= {f"val/{name}": value for name, value in figures.items()}
        return record | {f"time_val/{name}": value for name, value in timer.totals().items()}

    def _evaluate(
        self, batches: Iterable[Batch], timer: StageTimer, **options: Any
    ) -> dict[str, float]:
        return evaluate(
            self.model,
            self.criterion,
            batches,
            self.postprocess,
            self.metrics,
            device=self.device,
            dtype=self.dtype,
            timer=timer,
            pool=self._pool,
            **options,
        )

    def draw(self, log: RunLogger, *, examples: bool) -> None:
        """Log the images with low recall of the last validation; all ranks must call this.

        Args:
            examples: log the first images with their detections too.
        """
        low = self.low_recall.of_all_ranks()
        if not distributed.is_main():
            return
        log.pictures("low_recall", draw_low_recall(low, self.records))
        if examples:
            log.image("examples", self._draw_examples())

    def _draw_examples(self) -> np.ndarray:
        examples = first_samples(self.loader, 4)
        maps, found = predict_batch(
            self.model, examples, postprocess=self.postprocess, device=self.device, dtype=self.dtype
        )
        return draw_predictions(examples, maps, found)
