"""What people and programs read: tables, JSON and CSV files."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dbnet.runtime.files import replacing
from dbnet.runtime.profiler import Change, StageStats
from dbnet.structures import Detections


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_picture(path: Path, picture: np.ndarray) -> None:
    """JPEG or PNG, by the suffix, of uint8 (H, W, 3) RGB; whole or not at all.

    Raises:
        OSError: it could not be written, or has too many pixels on a side for its type.
    """
    encodes, content = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not encodes:
        raise OSError(f"{path}: cannot be written")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Indented JSON; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown that is readable as it is: first column to the left, figures to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]

    def row(cells: list[str]) -> str:
        first, *rest = (
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    return "\n".join([row(lines[0]), row(rule), *(row(line) for line in lines[1:])])


def metrics_table(columns: dict[str, dict[str, float]]) -> str:
    """Precision, recall and hmean of several evaluations ("model", "oracle"), one column each."""
    names = {
        "CLEval": "cleval/{}",
        "CLEval, mean of images": "cleval/{}_per_image",
        "IoU": "iou/{}",
        "IoU, mean of images": "iou/{}_per_image",
    }
    rows = [
        [f"{label} {figure}", *(f"{c[key.format(figure)]:.4f}" for c in columns.values())]
        for label, key in names.items()
        for figure in ("precision", "recall", "hmean")
    ]
    return table(["", *columns], rows)


def predictions_json(predictions: dict[str, Detections]) -> dict[str, Any]:
    """UFO form: original pixels, rounded to hundredths, with the score of each text."""
    return {
        "images": {
            image_id: {
                "words": {
                    f"{number:04d}": {
                        "points": np.round(polygon.astype(np.float64), 2).tolist(),
                        "score": round(float(score), 4),
                    }
                    for number, (polygon, score) in enumerate(
                        zip(found.polygons, found.scores, strict=True), start=1
                    )
                }
            }
            for image_id, found in predictions.items()
        }
    }


def predictions_csv(predictions: dict[str, Any]) -> str:
    """The polygons of `predictions_json`, a line per image: filename,polygons.

    Polygons are separated by |, the numbers of one, x y x y ..., by spaces.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["filename", "polygons"])
    for name, image in predictions["images"].items():
        outlines = [np.ravel(word["points"]).tolist() for word in image["words"].values()]
        writer.writerow([name, "|".join(" ".join(map(str, outline)) for outline in outlines)])
    return lines.getvalue()


def profile_report(profile: dict[str, Any]) -> str:
    """Markdown: where the time went, stage by stage, and what that means."""
    stages = {name: StageStats(**values) for name, values in profile["stages"].items()}
    host = {k: s for k, s in stages.items() if not k.startswith("worker/")}
    total = sum(s.total for s in host.values())

    def row(name: str, s: StageStats, share: str) -> list[str]:
        times = (s.mean, s.median, s.p95, s.p99, s.std)
        return [name, f"{s.total:.2f}", share, *(f"{1000 * value:.1f}" for value in times)]

    p = {k.removeprefix("performance/"): v for k, v in profile.items() if k.startswith("perf")}
    batch = [p[f"val_batch_{name}"] for name in ("mean", "median", "p95", "p99", "std")]
    header = ["stage", "total s", "share", "mean ms", "median", "p95", "p99", "std"]
    rows = [row(name, s, f"{s.total / total:.1%}") for name, s in host.items()]
    rows.append(["**batch**", f"{total:.2f}", "", *(f"{1000 * value:.1f}" for value in batch)])
    rows += [row(name, s, "") for name, s in stages.items() if name not in host]
    several = f" on {profile['ranks']} ranks" if profile["ranks"] > 1 else ""
    lines = [
        f"## Validation of {profile['images']} images{several}, {p['val_num_batches']} batches: "
        f"{p['val_epoch_time']:.2f} s, {p['images_per_second']:.1f} images/s",
        "",
        table(header, rows),
        "",
        "Milliseconds are per batch. The stages under worker/ are those of the loader's processes, "
        "where it has some: they run beside the rest, which waits for them in data_wait."
        + (" Stages, batches and memory are those of rank 0." if several else ""),
        "",
        f"- Bottleneck: **{profile['bottleneck']}**, "
        f"{host[profile['bottleneck']].total / total:.0%} of the time.",
        f"- Ceiling: the forward pass alone would take {p['forward_alone_s']:.2f} s; "
        f"this validation takes {p['over_forward']:.2f} times that.",
        *(
            f"- Cache of {name}: {c['hits']} hits, {c['misses']} misses."
            for name, c in profile["cache"].items()
        ),
        f"- Memory: {p['rss_peak_gb']:.2f} GB resident at the peak "
        f"({p['cpu_memory_percent']:.0f} % of the machine); GPU {p['gpu_memory_gb']:.2f} GB "
        f"allocated, {p['gpu_memory_reserved_gb']:.2f} GB reserved, "
        f"{p['gpu_memory_peak_gb']:.2f} GB at the peak.",
        f"- Measuring itself took {1000 * p['timer_overhead_s']:.2f} ms.",
        f"- CLEval hmean {profile['metrics']['cleval/hmean']:.4f}, "
        f"IoU hmean {profile['metrics']['iou/hmean']:.4f}.",
    ]
    if p["train_step_s"]:
        lines.append(
            f"- Training step on such a batch: {1000 * p['train_step_s']:.0f} ms, "
            f"{p['train_step_s'] / p['val_batch_mean']:.1f} times a validation batch."
        )
    if profile["naive"]:
        lines += ["", _naive_table(profile, host | stages)]
    return "\n".join(lines)


def _naive_table(profile: dict[str, Any], stages: dict[str, StageStats]) -> str:
    """The textbook path beside ours: seconds in all for what is not the network."""
    naive, images = profile["naive"], profile["images"]
    names = [n for n in ("worker/targets", "postprocess", "metric") if n in stages]
    pairs = [(name, naive[name], stages[name].total) for name in names]
    pairs.append(("together", sum(p[1] for p in pairs), sum(p[2] for p in pairs)))
    pairs.append(("validation, wall", naive["wall"], profile["performance/val_epoch_time"]))
    rows = [
        [name, f"{1000 * a / images:.2f}", f"{1000 * b / images:.2f}", f"{a / b:.1f}x"]
        for name, a, b in pairs
    ]
    return table(["ms per image", "textbook", "here", "ratio"], rows)


def changes_table(changes: list[Change]) -> str:
    """Medians per batch against the baseline's."""
    rows = [
        [
            change.stage,
            f"{1000 * change.before:.2f}",
            f"{1000 * change.after:.2f}",
            f"{change.after / change.before - 1:+.0%}" if change.before else "",
            f"{1000 * change.noise:.2f}",
            "SLOWER" if change.regressed else "",
        ]
        for change in changes
    ]
    return table(["stage", "before ms", "now ms", "change", "noise ms", ""], rows)
