"""The reference pipeline of a validation: targets, post-process and metrics one text at a time."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from dbnet.data.collate import Collate
from dbnet.data.dataset import DetectionDataset
from dbnet.data.samples import load_sample
from dbnet.data.transforms import EvalTransform
from dbnet.data.workers import Loader, make_loader
from dbnet.errors import InputError
from dbnet.geometry import min_area_quad
from dbnet.metrics import Metric
from dbnet.reference import iou as reference_iou
from dbnet.reference import postprocess as reference_postprocess
from dbnet.reference import targets as reference_targets
from dbnet.settings import EvalDataConfig, MetricConfig, PostprocessConfig, TargetsConfig
from dbnet.structures import Detections, Record, Sample, TargetMaps


def target_maps(
    sample: Sample, *, shrink_ratio: float, thresh_min: float, thresh_max: float
) -> TargetMaps:
    """Reference targets as `TargetMaps` of the types that training uses."""
    height, width = sample.image.shape[:2]
    maps = reference_targets.make_targets(
        sample.polygons,
        sample.ignored,
        height,
        width,
        shrink_ratio=shrink_ratio,
        thresh_min=thresh_min,
        thresh_max=thresh_max,
    )
    return TargetMaps(
        shrink_map=maps.shrink_map.astype(np.uint8),
        shrink_mask=maps.shrink_mask.astype(np.uint8),
        thresh_map=maps.thresh_map.astype(np.float32),
        thresh_mask=maps.thresh_mask.astype(np.uint8),
    )


def reference_pipeline(
    records: Sequence[Record],
    data: EvalDataConfig,
    targets: TargetsConfig,
    postprocess: PostprocessConfig,
    metric: MetricConfig,
) -> tuple[Loader, Callable[[np.ndarray], Detections], dict[str, Metric]]:
    """Loader without cache, post-processor and metrics: the parts of one validation."""
    dataset = DetectionDataset(
        records=records,
        load=load_sample,
        transform=EvalTransform(image_size=data.image_size),
        seed=0,
    )
    loader = make_loader(
        dataset,
        Collate(target_maps=partial(target_maps, **vars(targets))),
        shuffle=False,
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        prefetch_factor=data.prefetch_factor,
        persistent_workers=True,
        pin_memory=data.pin_memory,
    )
    options = vars(postprocess) | {"shrink_ratio": targets.shrink_ratio}

    find = partial(reference_postprocess.postprocess, **options)
    metrics: dict[str, Metric] = {
        "cleval": ReferenceCLEval(),
        "iou": ReferenceIoU(**vars(metric.iou)),
    }
    return loader, find, metrics


class ReferenceCLEval(Metric):
    """The published CLEval package, one image at a time. Detections are their smallest rectangles.

    Raises:
        InputError: the package is not installed.
    """

    def __init__(self) -> None:
        try:
            from dbnet.reference import cleval_package
        except ImportError:
            raise InputError(
                "the reference metric is the published package: pip install cleval==0.1.1"
            ) from None
        self.package = cleval_package
        self.reset()

    def reset(self) -> None:
        self._totals = np.zeros(len(self.package.NAMES))

    def update_batch(self, *images: Any) -> list[dict[str, float]]:
        return list(map(self._update, *images[:4]))

    def _update(
        self,
        det_polygons: Sequence[np.ndarray],
        gt_polygons: Sequence[np.ndarray],
        ignored: Sequence[bool] | np.ndarray,
        texts: Sequence[str] | None,
    ) -> dict[str, float]:
        quads = [min_area_quad(polygon) for polygon in det_polygons]
        truth = [p if len(p) == 4 else min_area_quad(p) for p in gt_polygons]
        result = self.package.evaluate(quads, truth, ignored, texts)
        self._totals += [result[name] for name in self.package.NAMES]
        return result

    def compute(self) -> dict[str, float]:
        """Corpus precision, recall and hmean from the summed counts."""
        c = dict(zip(self.package.NAMES, self._totals.tolist(), strict=True))
        recall = max(0.0, c["num_char_tp"] - c["gran_score_recall"]) / max(1, c["num_char_gt"])
        found = max(0.0, c["num_char_tp"] - c["gran_score_precision"])
        precision = found / max(1, c["num_char_det"])
        hmean = 2 * precision * recall / max(1e-12, precision + recall)
        return {"precision": precision, "recall": recall, "hmean": hmean}


class ReferenceIoU(Metric):
    """`reference.iou`, one image at a time. Only its time counts; `compute` gives no figures."""

    def __init__(self, *, iou_thresh: float) -> None:
        self.iou_thresh = iou_thresh
        self.reset()

    def reset(self) -> None:
        self._totals = np.zeros(1)

    def update_batch(self, *images: Any) -> list[dict[str, float]]:
        self._totals += len(images[0])
        evaluate = partial(reference_iou.evaluate, iou_thresh=self.iou_thresh)
        return list(map(evaluate, *images[:3]))

    def compute(self) -> dict[str, float]:
        return {"images": float(self._totals[0])}
