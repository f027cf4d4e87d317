"""The report of a profile: where the time went, what that means, what to try."""

import textwrap
from datetime import datetime
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from dbnet.reporting.advice import advice
from dbnet.reporting.figures import is_host
from dbnet.reporting.pictures import draw_batches, draw_stages
from dbnet.reporting.tables import table, write_json, write_picture, write_text
from dbnet.reporting.verdicts import verdicts
from dbnet.runtime.profiler import StageStats


def profile_report(profile: dict[str, Any]) -> str:
    """Markdown of a profile.json; parts that an older one lacks are left out."""
    lines, decision = advice(profile)
    parts = [
        _header(profile),
        _stages(profile),
        _memory(profile),
        _reference(profile),
        _slowest(profile),
        _lines("Verdicts", [*verdicts(profile), *profile.get("limits", [])]),
        _lines("Recommendations", lines) if lines else "",
        f"### Decision\n\n{decision}",
    ]
    return "\n\n".join(part for part in parts if part)


def screen_summary(profile: dict[str, Any]) -> str:
    """What a screen of 80 columns shows of a profile: the seconds of each stage, the verdicts in a
    word each, limits, recommendations and the decision. The report has the evidence."""
    stages = {name: StageStats(**values) for name, values in profile["stages"].items()}
    host = {name: s for name, s in stages.items() if is_host(name)}
    total = sum(s.total for s in host.values())
    rows = (
        ("stage", list(host)),
        ("total s", [f"{s.total:.2f}" for s in host.values()]),
        ("share", [f"{s.total / total:.1%}" for s in host.values()]),
    )
    table = [
        f"{title:8}" + " ".join(f"{c:>{max(len(n), 6)}}" for n, c in zip(host, cells, strict=True))
        for title, cells in rows
    ]
    words = " ".join(f"{''.join(line.split('**')[:2])}." for line in verdicts(profile))
    lines, decision = advice(profile)
    found = [words, *profile.get("limits", []), *(f"- {line}" for line in lines), decision]
    parts = [_title(profile).removeprefix("## "), *table, _reference(profile)]
    parts += [textwrap.fill(line, 80, break_on_hyphens=False) for line in found]
    return "\n".join(part for part in parts if part)


def _lines(title: str, lines: list[str]) -> str:
    return f"### {title}\n\n" + "\n".join(f"- {line}" for line in lines)


def _figures(profile: dict[str, Any]) -> dict[str, float]:
    return {k.removeprefix("performance/"): v for k, v in profile.items() if k.startswith("perf")}


def _header(profile: dict[str, Any]) -> str:
    run, data = profile.get("run", {}), profile["config"]["data"]
    title = _title(profile)
    if not run:
        return title
    started = datetime.fromtimestamp(run["_timestamp"]).isoformat(" ", "seconds")
    trained = ""
    if run.get("epoch") is not None:
        step = run.get("trainer/global_step")
        trained = f" (epoch {run['epoch']}{f', step {step}' if step is not None else ''})"
    rows = [
        ["measured", f"{started}, in {run['_runtime']:.0f} s"],
        ["checkpoint", f"{profile['checkpoint'] or 'random weights'}{trained}"],
        ["commit", run.get("commit") or "unknown"],
        ["machine", f"{run['host']}: {run['cpu']}, {run['cores']} cores"],
        ["device", f"{run['device_name']} ({run['device_type']}), {run['precision']}"],
        ["threads", f"{run['threads']} of the network"],
        ["processes", f"{_workers(profile)} loading, {run['scoring_workers']} scoring"],
        [
            "input",
            f"{data['image_size']} pixels, batches of {data['batch_size']}, cache {data['cache']}",
        ],
        ["versions", f"torch {run['torch']}, numpy {run['numpy']}, OpenCV {run['opencv']}"],
    ]
    return f"{title}\n\n{table(['run', ''], rows, words=2)}"


def _workers(profile: dict[str, Any]) -> str:
    """Loader processes, and how many were asked for where there are fewer."""
    asked = profile["config"]["data"]["num_workers"]
    used = profile["run"].get("loader_workers", asked)
    return f"{used} (of {asked}, one a core)" if used < asked else str(used)


def _title(profile: dict[str, Any]) -> str:
    p = _figures(profile)
    several = f" on {profile['ranks']} ranks" if profile["ranks"] > 1 else ""
    return (
        f"## Validation of {profile['images']} images{several}, {p['val_num_batches']} batches: "
        f"{p['val_epoch_time']:.2f} s, {p['images_per_second']:.1f} images/s"
    )


def _stages(profile: dict[str, Any]) -> str:
    stages = {name: StageStats(**values) for name, values in profile["stages"].items()}
    host = {k: s for k, s in stages.items() if not k.startswith("worker/")}
    total = sum(s.total for s in host.values())
    p = _figures(profile)

    def row(name: str, s: StageStats, share: str) -> list[str]:
        times = (s.mean, s.median, s.p95, s.p99, s.std)
        return [name, f"{s.total:.2f}", share, *(f"{1000 * value:.1f}" for value in times)]

    batch = [p[f"val_batch_{name}"] for name in ("mean", "median", "p95", "p99", "std")]
    rows = [row(name, s, f"{s.total / total:.1%}") for name, s in host.items()]
    rows.append(["**batch**", f"{total:.2f}", "", *(f"{1000 * value:.1f}" for value in batch)])
    rows += [row(name, s, "") for name, s in stages.items() if name not in host]
    header = ["stage", "total s", "share", "mean ms", "median", "p95", "p99", "std"]
    notes = [
        "Milliseconds are per batch. Stages under worker/ are those of the loader's and the "
        "scoring processes: they run in parallel with the rest, which waits for them in data_wait "
        "and score_wait."
        + (" Stages and memory are those of rank 0." if profile["ranks"] > 1 else ""),
        "",
        *(
            f"- Cache of {name}: {c['hits']} hits, {c['misses']} misses."
            for name, c in profile["cache"].items()
        ),
        f"- Measuring itself took {1000 * p['timer_overhead_s']:.2f} ms.",
        f"- CLEval hmean {profile['metrics']['cleval/hmean']:.4f}, "
        f"IoU hmean {profile['metrics']['iou/hmean']:.4f}.",
    ]
    return f"{table(header, rows)}\n\n" + "\n".join(notes)


def _memory(profile: dict[str, Any]) -> str:
    p = _figures(profile)
    rows = [
        [f"resident, peak ({p['cpu_memory_percent']:.0f} % of it all)", f"{p['rss_peak_gb']:.2f}"]
    ]
    if p["gpu_memory_reserved_gb"]:
        rows += [
            ["GPU, allocated", f"{p['gpu_memory_gb']:.2f}"],
            ["GPU, reserved", f"{p['gpu_memory_reserved_gb']:.2f}"],
            ["GPU, peak", f"{p['gpu_memory_peak_gb']:.2f}"],
        ]
    return f"### Memory\n\n{table(['memory', 'GB'], rows)}"


def _slowest(profile: dict[str, Any]) -> str:
    slowest = profile.get("slowest", [])
    if not slowest:
        return ""
    rows = [
        [
            s["image_id"],
            f"{1000 * s['seconds']:.1f}",
            f"{s['size'][1]} x {s['size'][0]}",
            str(s["texts"]),
            str(s["detections"]),
        ]
        for s in slowest
    ]
    header = ["slowest images", "post-process ms", "size", "texts", "detections"]
    return f"### Slowest images\n\n{table(header, rows)}"


def _reference(profile: dict[str, Any]) -> str:
    """The slow reference compared with this pass: everything except the network, per image."""
    reference, images = profile.get("reference"), profile["images"]
    if not reference:
        return ""
    stages = {name: StageStats(**values) for name, values in profile["stages"].items()}
    names = ("worker/targets", "postprocess", "metric")
    ours = {n: stages.get(n, stages.get(f"worker/{n}")) for n in names}
    pairs = [(name, reference[name], s.total) for name, s in ours.items() if s is not None]
    pairs.append(("together", sum(p[1] for p in pairs), sum(p[2] for p in pairs)))
    pairs.append(("validation, wall", reference["wall"], profile["performance/val_epoch_time"]))
    rows = [
        [name, f"{1000 * a / images:.2f}", f"{1000 * b / images:.2f}", f"{a / b:.1f}x"]
        for name, a, b in pairs
    ]
    return table(["ms per image", "reference", "here", "ratio"], rows)


def write_profile(out: Path, profile: dict[str, Any], report: str) -> None:
    """Write profile.json, report.md, stages.png, batches.png and TensorBoard scalars to `out`."""
    write_json(out / "profile.json", profile)
    pictures = "![stages](stages.png)\n\n![stages over the batches](batches.png)\n"
    write_text(out / "report.md", f"{report}\n\n{pictures}")
    stages, series = profile["stages"], profile["series"]["stages"]
    host = [name for name in stages if is_host(name)]
    bar = draw_stages({name: stages[name]["mean"] for name in host})
    write_picture(out / "stages.png", bar)
    over_batches = draw_batches({name: series[name] for name in host})
    write_picture(out / "batches.png", over_batches)
    with SummaryWriter(out) as writer:
        for name, value in profile.items():
            if name.startswith("performance/"):
                writer.add_scalar(name, value, 0)
        for name, stats in stages.items():
            writer.add_scalar(f"stages/{name}", stats["mean"], 0)
        writer.add_image("stages", bar, 0, dataformats="HWC")
        writer.add_image("batches", over_batches, 0, dataformats="HWC")
