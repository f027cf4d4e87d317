"""Output of evaluate.py: files, and the tables that it prints."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dbnet.data.images import decode_image
from dbnet.evaluation.errors import KINDS, count_errors, find_errors
from dbnet.evaluation.page import ImageErrors, errors_page
from dbnet.evaluation.sweep import SweepResult, draw_sweep, flags
from dbnet.inference.order import in_reading_order
from dbnet.model.dbnet import DBNet
from dbnet.reporting.pictures import draw_result
from dbnet.reporting.predictions import predictions_dict, predictions_json
from dbnet.reporting.tables import table, write_json, write_picture, write_text
from dbnet.runtime.device import autocast
from dbnet.settings import PostprocessConfig
from dbnet.structures import Batch, ImageResult, Record

_ROWS = 15  # of the printed table of a sweep


def image_errors(results: Sequence[ImageResult], records: Iterable[Record]) -> list[ImageErrors]:
    """The errors of each evaluated image."""
    by_id = {record.image_id: record for record in records}
    images = []
    for result in results:
        record = by_id[result.image_id]
        found = result.detections.polygons
        images.append(
            ImageErrors(
                image_id=result.image_id,
                scores={
                    "CLEval hmean": result.scores["cleval"]["hmean"],
                    "IoU hmean": result.scores["iou"]["hmean"],
                },
                errors=find_errors(found, record.polygons, record.ignored),
                truth=record.polygons,
                ignored=record.ignored,
                found=found,
                load=partial(decode_image, record.image_path),
            )
        )
    return images


def write_results(
    out: Path,
    figures: dict[str, float],
    results: Sequence[ImageResult],
    records: Iterable[Record],
    *,
    title: str,
    draw_worst: int,
) -> str:
    """Write predictions.json, per_image.json, errors.html and worst/ to `out`.

    Returns one line with the number of errors of each kind.
    """
    found = {result.image_id: in_reading_order(result.detections)[0] for result in results}
    write_text(out / "predictions.json", predictions_json(predictions_dict(found)))
    write_json(out / "per_image.json", {result.image_id: result.scores for result in results})
    images = image_errors(results, records)
    headline = {
        "CLEval hmean": figures["cleval/hmean"],
        "IoU hmean": figures["iou/hmean"],
        "CLEval hmean as quads": figures["cleval_quads/hmean"],
        "IoU hmean as quads": figures["iou_quads/hmean"],
    }
    write_text(out / "errors.html", errors_page(title, headline, images))
    worst = sorted(images, key=lambda image: image.scores["CLEval hmean"])[:draw_worst]
    for rank, image in enumerate(worst, start=1):
        picture = draw_result(image.load(), list(image.found), list(image.truth), image.ignored)
        write_picture(out / "worst" / f"{rank:02d}_{Path(image.image_id).stem}.jpg", picture)
    totals = count_errors([error for image in images for error in image.errors])
    return "errors: " + ", ".join(f"{totals[kind]} {kind}" for kind in KINDS)


@torch.inference_mode()
def predict_maps(
    model: DBNet, loader: Iterable[Batch], *, device: torch.device, dtype: torch.dtype | None
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch with its probability maps, float32 (N, 1, H, W), on the host."""
    model.eval()
    for batch in loader:
        with autocast(device, dtype):
            prob_maps = model.predict(batch.images.to(device))
        yield batch, prob_maps.float().cpu()


def write_sweep(
    out: Path,
    results: Sequence[SweepResult],
    *,
    given: PostprocessConfig,
    split: str,
) -> str:
    """Write sweep.json and sweep.png to `out`; returns what to print: table, flags, warning.

    Args:
        given: the settings that the sweep started from; they are among the results.
        split: on which they were scored.
    """
    write_json(
        out / "sweep.json",
        [
            {"postprocess": vars(result.postprocess), "figures": result.figures}
            for result in results
        ],
    )
    write_picture(out / "sweep.png", draw_sweep(results))
    header = ["CLEval hmean", "IoU hmean", "bin_thresh", "box_thresh", "unclip_ratio", "outline"]
    shown = results[:_ROWS]
    place = next(i for i, result in enumerate(results) if result.postprocess == given)
    lines = [
        table(header, [_row(result) for result in shown]),
        f"the best {len(shown)} of {len(results)} settings; all: {out / 'sweep.json'}",
        f"as given: CLEval hmean {results[place].figures['cleval/hmean']:.4f}, IoU hmean "
        f"{results[place].figures['iou/hmean']:.4f}, place {place + 1} ({flags(given)})",
        f"flags of the best: {flags(results[0].postprocess)}",
    ]
    if split == "val":
        lines.append(
            "WARNING: these thresholds are chosen on the split val. Figures of val with them are "
            "too good to report: choose on another split (--split train), report on val."
        )
    return "\n".join(lines)


def _row(result: SweepResult) -> list[str]:
    setting: Any = result.postprocess
    return [
        f"{result.figures['cleval/hmean']:.4f}",
        f"{result.figures['iou/hmean']:.4f}",
        f"{setting.bin_thresh:g}",
        f"{setting.box_thresh:g}",
        "exact" if setting.unclip_ratio is None else f"{setting.unclip_ratio:g}",
        "polygon" if setting.use_polygon else "rectangle",
    ]
