"""Loads the records of each split and prints a summary."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from torch.utils.data import ConcatDataset, Dataset

from dbnet.data.annotations import scan as annotations
from dbnet.data.annotations.find import USUAL_PLACES
from dbnet.data.annotations.report import Report, summary_table, unlearnable
from dbnet.data.decode_check import decode_all
from dbnet.data.places import check_places, where_of
from dbnet.data.storage import index
from dbnet.errors import InputError
from dbnet.runtime import distributed
from dbnet.runtime.files import new_folder
from dbnet.runtime.message_list import shortened
from dbnet.runtime.run_files import RUNS
from dbnet.settings import DataConfig, EvalDataConfig, SplitDataConfig
from dbnet.structures import Record
from dbnet.synthetic import dataset as synthetic


def load_records(cfg: EvalDataConfig, splits: list[str]) -> dict[str, Sequence[Record]]:
    """Read and check the splits, drawing receipts first where no root is given.

    Prints a table, then warnings.

    Raises:
        InputError: the data set has problems, or a split has no usable text. Where "train" is one
            of the splits: most text of an own data set is too small to be learned.
    """
    root, format = _data_set(cfg, splits)
    roots = {split: (root, split, format) for split in splits}
    if isinstance(cfg, DataConfig) and cfg.drawn_mix and "train" in splits:
        roots["drawn"] = (_drawn(cfg, cfg.drawn_mix, 0), "train", "ufo")
    loaded = {
        name: index.load_records(
            root,
            split,
            format=format,
            skip_missing=cfg.skip_missing,
            ignore_marks=cfg.ignore_marks,
            cache_dir=cfg.cache_dir,
            where=USUAL_PLACES if name == "drawn" else where_of(cfg, split),
        )
        for name, (root, split, format) in roots.items()
    }
    records: dict[str, Sequence[Record]] = {name: found for name, (found, _) in loaded.items()}
    reports = {name: report for name, (_, report) in loaded.items()}
    print(summary_table(reports, image_size=cfg.image_size), flush=True)
    for name, report in reports.items():
        if not report.texts:
            raise InputError(f"{roots[name][0]}: {name} has no usable text; annotate some first")
    own = {name: report for name, report in reports.items() if name != "drawn"}
    warnings, refusals = _warnings(own, cfg.image_size)
    warn = distributed.main_only(print)  # of the other ranks, only stdout is silent
    for line in warnings:
        warn(f"warning: {line}", file=sys.stderr, flush=True)
    for line in refusals:
        if cfg.root and "train" in splits:
            raise InputError(line)
        warn(f"warning: {line}", file=sys.stderr, flush=True)
    if "drawn" in records:
        both = [cast(Dataset[Record], records[name]) for name in ("train", "drawn")]
        records["train"] = cast(Sequence[Record], ConcatDataset(both))
        del records["drawn"]
    return records


def check(cfg: DataConfig, splits: list[str]) -> int:
    """Print all that is wrong with the splits, undecodable images included. It trusts no index.

    Many lines of one kind are shortened; a file in a new folder below runs/ has all of them.
    Returns the exit status: 0 where `load_records` takes them and every image can be decoded.

    Raises:
        InputError: a split is not there at all.
    """
    check_places(cfg, splits)
    root, format = _data_set(cfg, splits)
    scanned = {
        split: annotations.scan(
            root,
            split,
            format=format,
            skip_missing=cfg.skip_missing,
            ignore_marks=cfg.ignore_marks,
            where=where_of(cfg, split),
        )
        for split in splits
    }
    reports = {split: report for split, (_, report) in scanned.items()}
    print(summary_table(reports, image_size=cfg.image_size))
    problems = [problem for report in reports.values() for problem in report.problems]
    problems = [*dict.fromkeys(problems)]  # both parts of one folder have its file's
    problems += [
        f"{root}: {split} has no usable text; annotate some first"
        for split, report in reports.items()
        if not report.texts and not report.problems
    ]
    warnings, refusals = _warnings(reports, cfg.image_size)
    paths = [record.image_path for records, _ in scanned.values() for record in records]
    damaged, doubtful = decode_all(paths, cfg.num_workers)
    problems += [*refusals, *damaged]
    warnings += doubtful
    _print_findings(
        {
            "warning": warnings,
            "note": [note for report in reports.values() for note in report.notes],
            "problem": problems,
        }
    )
    print(f"images decoded: {len(paths)}, problems: {len(problems)}", flush=True)
    return 1 if problems else 0


def _warnings(reports: dict[str, Report], image_size: int) -> tuple[list[str], list[str]]:
    """Warnings, and reasons to refuse training."""
    warnings = [line for report in reports.values() for line in report.warnings]
    refusals: list[str] = []
    for split, report in reports.items():
        if (found := unlearnable(split, report, image_size=image_size)) is not None:
            line, is_most = found
            (refusals if is_most else warnings).append(line)
    return warnings, refusals


def _print_findings(found: dict[str, list[str]]) -> None:
    """Print the lines under their titles; all of them go to a file where some are left out."""
    everything, is_short = [], False
    for title, lines in found.items():
        shown = shortened(lines)
        is_short |= shown != lines
        everything += [f"{title}: {line}" for line in lines]
        for line in shown:
            print(line if line.startswith("... ") else f"{title}: {line}")
    if is_short:
        path = new_folder(RUNS, "check") / "findings.txt"
        path.write_text("\n".join([*everything, ""]), encoding="utf-8")
        print(f"all {len(everything)} lines: {path}")


def _data_set(cfg: EvalDataConfig, splits: list[str]) -> tuple[Path, str]:
    """Root and annotation format; receipts for the splits are drawn where no root is given."""
    if cfg.root is not None:
        return cfg.root, cfg.format
    train = cfg.drawn_train if isinstance(cfg, SplitDataConfig) and "train" in splits else 0
    return _drawn(cfg, train, cfg.drawn_val), "ufo"


def _drawn(cfg: EvalDataConfig, train: int, val: int) -> Path:
    return synthetic.build(
        cfg.drawn_dir,
        train=train,
        val=val,
        seed=cfg.drawn_seed,
        workers=cfg.num_workers,
        level=cfg.drawn_level,
        style=cfg.drawn_style,
        folders=synthetic.Folders(cfg.drawn_textures, cfg.drawn_backgrounds),
    )
