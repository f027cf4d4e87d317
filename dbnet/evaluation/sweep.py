"""Choose post-processing thresholds: one pass of the network, then a grid of settings."""

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from dbnet.metrics import Metric
from dbnet.postprocess.frames import to_original
from dbnet.settings import PostprocessConfig
from dbnet.structures import Batch, Detections
from dbnet.training.scoring import compute_all

Postprocessor = Callable[[np.ndarray], Detections]

BIN_THRESHOLDS = (0.15, 0.2, 0.25, 0.3, 0.4)
BOX_THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
UNCLIP_RATIOS = (None, 1.5, 2.0)
OUTLINES = (True, False)  # use_polygon


class SweepResult(NamedTuple):
    """One setting and its figures over all images."""

    postprocess: PostprocessConfig
    figures: dict[str, float]  # "cleval/hmean", "iou/hmean", ...


class StoredMaps(NamedTuple):
    """Probability maps of a data set, on disk, with what is needed to score them."""

    path: Path  # raw float32 (images, H, W)
    shape: tuple[int, int, int]
    batches: list[Batch]  # without images and target maps

    def maps(self) -> np.ndarray:
        """float32 (images, H, W), 0..1, memory-mapped and read-only."""
        return np.memmap(self.path, np.float32, "r", shape=self.shape)


@contextmanager
def store_maps(predictions: Iterable[tuple[Batch, Tensor]]) -> Iterator[StoredMaps]:
    """Write the probability maps of all batches to a temporary file; it is deleted at the end.

    TMPDIR sets its folder. An image of 1024 x 1024 needs 4.2 MB.

    Args:
        predictions: batches with their probability maps, float32 (N, 1, H, W), 0..1, on the host.

    Raises:
        OSError: the file cannot be written.
    """
    with tempfile.NamedTemporaryFile(prefix="dbnet-maps-") as file:
        batches: list[Batch] = []
        images = 0
        height = width = 0
        for batch, prob_maps in predictions:
            height, width = prob_maps.shape[2:]
            file.write(prob_maps.numpy().tobytes())
            images += len(prob_maps)
            batches.append(_without_maps(batch))
        file.flush()
        yield StoredMaps(Path(file.name), (images, height, width), batches)


def _without_maps(batch: Batch) -> Batch:
    """The batch with empty images and target maps, which are not needed any more."""
    none = torch.empty(0)
    return batch._replace(
        images=none, shrink_map=none, shrink_mask=none, thresh_map=none, thresh_mask=none
    )


def grid(postprocess: PostprocessConfig) -> list[PostprocessConfig]:
    """All combinations of the constants above, to which the values of `postprocess` are added.

    Other settings are those of `postprocess`. Settings that differ in box_thresh alone are
    neighbours.
    """
    bin_thresholds = sorted({*BIN_THRESHOLDS, postprocess.bin_thresh})
    box_thresholds = sorted({*BOX_THRESHOLDS, postprocess.box_thresh})
    unclip_ratios = list(dict.fromkeys([*UNCLIP_RATIOS, postprocess.unclip_ratio]))
    return [
        replace(
            postprocess,
            bin_thresh=bin_thresh,
            box_thresh=box_thresh,
            unclip_ratio=unclip_ratio,
            use_polygon=use_polygon,
        )
        for use_polygon, unclip_ratio, bin_thresh, box_thresh in itertools.product(
            OUTLINES, unclip_ratios, bin_thresholds, box_thresholds
        )
    ]


def steps(settings: Iterable[PostprocessConfig], images: int) -> int:
    """Number of calls of `on_image` by `sweep`."""
    return images * len(_sharing(settings))


def sweep(
    stored: StoredMaps,
    settings: Iterable[PostprocessConfig],
    make_postprocessor: Callable[[PostprocessConfig], Postprocessor],
    metrics: dict[str, Metric],
    on_image: Callable[[], object] = lambda: None,
) -> list[SweepResult]:
    """Score every setting on the stored maps; the best CLEval hmean comes first.

    Settings that differ in box_thresh alone share one post-processing, at the lowest of their
    thresholds: box_thresh only removes detections, and max_candidates keeps the highest scores.
    Detections are scored in original pixels, as `engine.evaluate` does.

    Args:
        on_image: called once per image and shared post-processing, for a progress bar.
    """
    results = []
    for members in _sharing(settings):
        lowest = min(members, key=lambda setting: setting.box_thresh)
        postprocess = make_postprocessor(lowest)
        sums: list[dict[str, np.ndarray]] = [{} for _ in members]
        for batch, found in _detected(stored, postprocess, on_image):
            for member, own in zip(members, sums, strict=True):
                _add_scores(own, batch, found, member, metrics)
        results += [
            SweepResult(member, compute_all(metrics, own))
            for member, own in zip(members, sums, strict=True)
        ]
    return sorted(results, key=lambda result: -result.figures["cleval/hmean"])


def _sharing(settings: Iterable[PostprocessConfig]) -> list[list[PostprocessConfig]]:
    """Groups of settings that differ in box_thresh alone."""
    groups = itertools.groupby(settings, lambda setting: replace(setting, box_thresh=0.0))
    return [list(group) for _, group in groups]


def _detected(
    stored: StoredMaps, postprocess: Postprocessor, on_image: Callable[[], object]
) -> Iterator[tuple[Batch, list[Detections]]]:
    """Each batch with the detections of its images in original pixels."""
    maps = iter(stored.maps())
    for batch in stored.batches:
        found = []
        for matrix, size in zip(batch.matrices, batch.orig_sizes, strict=True):
            found.append(to_original(postprocess(np.array(next(maps))), matrix, size))
            on_image()
        yield batch, found


def _add_scores(
    sums: dict[str, np.ndarray],
    batch: Batch,
    found: list[Detections],
    setting: PostprocessConfig,
    metrics: dict[str, Metric],
) -> None:
    """Add the sums of each metric over the detections that pass the box_thresh, in place."""
    passing = [
        [p for p, score in zip(d.polygons, d.scores, strict=True) if score >= setting.box_thresh]
        for d in found
    ]
    for name, metric in metrics.items():
        metric.reset()
        metric.update_batch(
            passing, batch.orig_polygons, batch.ignored, batch.texts, batch.orig_sizes
        )
        sums[name] = metric.state() + sums.get(name, 0)


def flags(setting: PostprocessConfig) -> str:
    """The flags that give this setting on a command line."""
    return (
        f"--postprocess.bin-thresh {setting.bin_thresh} "
        f"--postprocess.box-thresh {setting.box_thresh} "
        f"--postprocess.unclip-ratio {setting.unclip_ratio} "
        f"--postprocess.{'' if setting.use_polygon else 'no-'}use-polygon"
    )


def draw_sweep(results: Sequence[SweepResult]) -> np.ndarray:
    """bin_thresh against box_thresh, at the best unclip and outline: uint8 (H, W, 3) RGB.

    CLEval hmean on the left, IoU hmean on the right; brighter is better, the best has a frame.
    """
    best = results[0].postprocess
    shown = {
        (r.postprocess.bin_thresh, r.postprocess.box_thresh): r.figures
        for r in results
        if r.postprocess
        == replace(best, bin_thresh=r.postprocess.bin_thresh, box_thresh=r.postprocess.box_thresh)
    }
    panels = [_panel(shown, key, title) for key, title in (
        ("cleval/hmean", "CLEval hmean"), ("iou/hmean", "IoU hmean"),
    )]  # fmt: skip
    return np.hstack(panels)


def _panel(
    figures: dict[tuple[float, float], dict[str, float]], key: str, title: str
) -> np.ndarray:
    rows = sorted({box for _, box in figures})
    columns = sorted({bin_ for bin_, _ in figures})
    values = np.array([[figures[column, row][key] for column in columns] for row in rows])
    low, high = np.percentile(values, 20), values.max()  # colours start at the 20th percentile
    shares = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    levels = np.round(255 * shares).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    wide, high, left, top = 84, 44, 90, 76
    canvas = np.full(
        (top + high * len(rows) + 30, left + wide * len(columns) + 30, 3), 255, np.uint8
    )
    font = cv2.FontFace("sans")
    black = (30, 30, 30)
    cv2.putText(canvas, title, (left, 28), black, font, 20, 600)
    cv2.putText(canvas, "bin_thresh", (left, top - 26), black, font, 14, 400)
    cv2.putText(canvas, "box_thresh", (6, top - 8), black, font, 14, 400)
    best = np.unravel_index(values.argmax(), values.shape)
    for j, column in enumerate(columns):
        cv2.putText(canvas, f"{column:g}", (left + wide * j + 26, top - 8), black, font, 14, 400)
    for i, row in enumerate(rows):
        y = top + high * i
        cv2.putText(canvas, f"{row:g}", (40, y + 28), black, font, 14, 400)
        for j in range(len(columns)):
            x = left + wide * j
            color = tuple(map(int, colors[i, j]))
            cv2.rectangle(canvas, (x, y), (x + wide - 2, y + high - 2), color, -1)
            ink = (0, 0, 0) if levels[i, j] > 140 else (255, 255, 255)
            cv2.putText(canvas, f"{values[i, j]:.4f}", (x + 14, y + 28), ink, font, 15, 500)
            if (i, j) == best:
                cv2.rectangle(canvas, (x, y), (x + wide - 2, y + high - 2), (220, 30, 50), 3)
    return canvas
