"""Every option of every program is used, as a test shows, or refused.

`python -m tests.scripts.test_options` writes the table to docs/options.md.
"""

import ast
import sys
from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from torch import nn

import evaluate
import predict
import profile_val
import train
from configs import Config, EvaluateConfig, PredictConfig, ProfileConfig
from dbnet.data import splits, workers
from dbnet.data.loaders import val_loader
from dbnet.data.transforms import TrainTransform
from dbnet.errors import InputError
from dbnet.export import ExportConfig, evaluated
from dbnet.inference.weights import released_weights
from dbnet.release import ReleaseConfig
from dbnet.reporting.tables import write_picture
from dbnet.runtime.device import resolve_device, resolve_precision
from dbnet.runtime.unused import RULES, refuse_unused
from dbnet.settings import (
    AugmentConfig,
    DataConfig,
    EvalDataConfig,
    LossConfig,
    ModelConfig,
    PostprocessConfig,
    SplitDataConfig,
    SplitPaths,
    TargetsConfig,
)
from dbnet.structures import Sample
from dbnet.synthetic.dataset import draw_receipt
from dbnet.training import network, setup, validation
from tests.drawing import draw_page, write_dataset

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "options.md"
PROGRAMS = {
    "train": Config,
    "evaluate": EvaluateConfig,
    "profile_val": ProfileConfig,
    "predict": PredictConfig,
    "export": ExportConfig,
    "release": ReleaseConfig,
}

SECTION = "scripts/test_configs.py::a_constructor_takes_its_section_and_uses_all_of_it"
PIXELS = "scripts/test_options.py::an_augmentation_changes_the_image"
PAIRS = "faults/test_option_pairs.py::every_pair_of_options_trains_and_resumes"
LOADER = "data/test_dataset.py::batches_are_the_same_whatever_the_number_of_workers"
SWEEP = "evaluation/test_sweep.py::evaluate_sweeps_a_split_of_ones_choice"
ONNX = "scripts/test_predict.py::an_onnx_file_finds_the_same_with_its_own_settings"
WEIGHTS = "scripts/test_cli.py::all_programs_take_weights_by_one_rule"
OUT = "faults/test_outputs.py::earlier_results_are_not_overwritten"
DEVICE = "scripts/test_options.py::a_named_device_and_precision_are_taken"
DETECTOR = "scripts/test_options.py::predict_hands_its_settings_to_the_detector"
LOADER_OPTIONS = "scripts/test_options.py::loader_options_reach_the_loader"
PLACES = "data/test_loaders.py::named_places_are_those_of_the_settings"
ROOTS = "data/test_roots.py::the_scripts_tell_it_before_they_import_pytorch"
CHANGED = "data/test_loaders.py::changed_settings_miss_what_depends_on_them"
RELEASE = "inference/test_release.py::the_averaged_weights_are_released_and_predict_the_same"
LOWER = "inference/test_precision.py::a_lower_precision_is_small_and_named_in_the_file"
EXPORT = "inference/test_export.py::the_command_prints_the_difference_and_never_overwrites"

REACHED = "scripts/test_options.py::settings_of_data_reach_what_draws_and_reads"
VALIDATED = "scripts/test_options.py::settings_of_validation_reach_it"

# Field -> test that shows what it does. A section's name stands for each of its fields.
HONOURED = {
    "data.root": ROOTS,
    "data.format": REACHED,
    "data.images.train": PLACES,
    "data.images.val": PLACES,
    "data.annotations.train": PLACES,
    "data.annotations.val": PLACES,
    "data.follow_links": "data/test_loaders.py::links_out_of_the_root_need_the_setting",
    "data.val_fraction": "data/test_val_fraction.py::every_image_is_on_one_side",
    "data.val_seed": "data/test_val_fraction.py::"
    "the_same_images_each_time_and_others_by_another_seed",
    "data.ignore_marks": REACHED,
    "data.image_size": CHANGED,
    "data.batch_size": LOADER_OPTIONS,
    "data.num_workers": LOADER,
    "data.prefetch_factor": LOADER_OPTIONS,
    "data.persistent_workers": LOADER_OPTIONS,
    "data.scoring_workers": VALIDATED,
    "data.pin_memory": LOADER_OPTIONS,
    "data.drawn_train": REACHED,
    "data.drawn_val": REACHED,
    "data.drawn_level": REACHED,
    "data.drawn_style": REACHED,
    "data.drawn_backgrounds": REACHED,
    "data.drawn_textures": REACHED,
    "data.drawn_seed": REACHED,
    "data.drawn_dir": REACHED,
    "data.cache": "data/test_loaders.py::second_epoch_hits_in_all_workers",
    "data.cache_dir": "data/test_loaders.py::a_resumed_run_may_move_its_cache_but_not_switch_it",
    "data.skip_missing": REACHED,
    "data.train_size": CHANGED,
    "data.drawn_mix": "data/test_loaders.py::drawn_receipts_join_the_training_images_only",
    "data.fill_cache": "data/test_loaders.py::after_filling_everything_hits",
    "data.check_only": "scripts/test_options.py::a_check_only_checks",
    "augment": PIXELS,
    "targets.shrink_ratio": "data/test_targets.py::the_maps_equal_those_of_the_reference",
    "targets.thresh_min": "data/test_cache.py::changed_parameter_misses",
    "targets.thresh_max": "data/test_cache.py::changed_parameter_misses",
    "model.encoder": "model/test_model.py::other_encoders_work_by_name",
    "model.pretrained": "scripts/test_options.py::imagenet_weights_are_loaded_where_asked",
    "model.weights": "scripts/test_train.py::weights_start_a_new_run",
    "model.fpn_channels": "scripts/test_profile_val.py::"
    "without_a_checkpoint_only_the_network_is_chosen",
    "loss": SECTION,
    "optim": SECTION,
    "postprocess": SECTION,
    "metric.cleval": SECTION,
    "metric.iou": SECTION,
    "train.epochs": "scripts/test_train.py::a_run_leaves_what_it_promises",
    "train.max_steps": "faults/test_endings.py::steps_end_a_run_within_an_epoch",
    "train.patience": "faults/test_endings.py::patience_ends_a_run",
    "train.seed": "data/test_dataset.py::epochs_differ_in_order_and_augmentation",
    "train.accumulate": "training/test_engine.py::"
    "accumulation_weighs_images_alike_in_partial_steps_too",
    "train.clip": "training/test_engine.py::clipping_limits_the_step_and_reports_the_full_norm",
    "train.precision": PAIRS,
    "train.ema": "training/test_optim.py::average_loses_its_first_weights_and_covers_buffers",
    "train.recompute_encoder": PAIRS,
    "train.deterministic": PAIRS,
    "train.compile": PAIRS,
    "train.sync_batchnorm": "model/test_model.py::synchronised_norms_without_a_gpu_are_refused",
    "train.save_minutes": "faults/test_signals.py::a_killed_run_resumes_equal",
    "train.val_every": "scripts/test_train.py::training_overfits_four_receipts",
    "train.log_every": "training/test_tensorboard.py::curves_have_a_point_every_so_many_batches",
    "train.low_recall": VALIDATED,
    "train.low_recall_images": VALIDATED,
    "train.device": DEVICE,
    "train.out": "scripts/test_train.py::an_existing_run_is_never_written_into",
    "train.name": "scripts/test_train.py::an_existing_run_is_never_written_into",
    "train.resume": "scripts/test_train.py::stopped_and_resumed_equals_uninterrupted_bitwise",
    "checkpoint": WEIGHTS,
    "split": SWEEP,
    "device": DEVICE,
    "precision": DEVICE,
    "out": OUT,
    "draw_worst": "scripts/test_train.py::evaluate_writes_metrics_predictions_and_pictures",
    "sweep": SWEEP,
    "warmup": "scripts/test_profile_val.py::so_many_batches_warm_up",
    "train_steps": "scripts/test_profile_val.py::profile_names_every_figure_and_adds_up",
    "compare_reference": "scripts/test_profile_val.py::the_reference_runs_beside",
    "trace": "scripts/test_profile_val.py::trace_on_request",
    "baseline": "scripts/test_profile_val.py::baseline_passes_fails_and_is_refused",
    "tolerance": "scripts/test_profile_val.py::baseline_passes_fails_and_is_refused",
    "images": "scripts/test_predict.py::files_folders_and_globs_are_the_same_images",
    "onnx": ONNX,
    "draw": "scripts/test_predict.py::every_image_has_a_drawing_of_its_own",
    "crops": "scripts/test_options.py::crops_are_written_where_asked",
    "image_size": DETECTOR,
    "shrink_ratio": DETECTOR,
    "tile": DETECTOR,
    "batch_size": "scripts/test_predict.py::batches_find_what_single_images_find",
    "num_workers": DETECTOR,
    "provider": DETECTOR,
    "fast": DETECTOR,
}

# What these programs add; their other fields have the meaning above.
COMMANDS = {
    "export": {
        "out": EXPORT,
        "checkpoint": EXPORT,
        "precision": LOWER,
        "calibrate": LOWER,
        "evaluate": LOWER,
        "images": "scripts/test_options.py::export_measures_so_many_images",
        "max_loss": "inference/test_precision.py::a_file_that_loses_more_than_asked_is_not_written",
    },
    "release": {"out": RELEASE, "checkpoint": RELEASE},
    "evaluate": {
        "tile": "evaluation/test_tiled.py::long_receipts_are_scored_at_the_scale_of_their_text"
    },
}


def names_of(cls: Any, prefix: str = "") -> list[str]:
    """All fields, "data.images.train" for one of a section in a section."""
    hints, found = get_type_hints(cls), []
    for field in fields(cls):
        name = f"{prefix}{field.name}"
        nested = hints[field.name]
        found += names_of(nested, f"{name}.") if is_dataclass(nested) else [name]
    return found


def evidence(program: str, name: str) -> str | None:
    """The test of the field or of its section; None: the table lacks it."""
    table = HONOURED | COMMANDS.get(program, {})
    return table.get(name) or table.get(name.rpartition(".")[0])


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def page() -> str:
    """The text of docs/options.md."""
    by_name: dict[str, dict[str, str | None]] = {}
    for program, cls in PROGRAMS.items():
        for name in names_of(cls):
            by_name.setdefault(name, {})[program] = evidence(program, name)
    rows = []
    for name, programs in by_name.items():
        for test in dict.fromkeys(programs.values()):
            who = ", ".join(program for program, shown in programs.items() if shown == test)
            file, _, shown = str(test).partition("::")
            said = shown.replace("_", " ")
            rows.append(f"| `{flag(name)}` | {who} | {said} (`tests/{file}`) |")
    unused = [
        f"| {', '.join(f'`{each}`' for each in rule.flags)} | {who} | {rule.why} |"
        for group, rules in RULES.items()
        for who in ["train, evaluate, profile_val" if group == "data" else group]
        for rule in rules
    ]
    return "\n".join([
        "# Options",
        "",
        "Each option of each program, and the test that shows that it is used. A program refuses",
        "every option that it is not listed for, with exit status 2. The tests check this page:",
        "`python -m tests.scripts.test_options` writes it.",
        "",
        "| option | programs | test |",
        "| --- | --- | --- |",
        *rows,
        "",
        "## Refused beside others",
        "",
        "These flags would change nothing beside the others of the same command line. They end the",
        "program with one line and exit status 1. Settings that a checkpoint or run has stored are",
        "not refused.",
        "",
        "| flag | programs | message |",
        "| --- | --- | --- |",
        *unused,
        "",
        "Values out of range and settings that contradict each other are refused by",
        "`dbnet/settings.py` and `configs.py`; `tests/scripts/test_configs.py` has a list.",
        "",
    ])  # fmt: skip


# ---- The table


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_is_in_the_table(program):
    names = names_of(PROGRAMS[program])
    assert [name for name in names if evidence(program, name) is None] == []


def test_the_table_has_no_option_that_is_gone():
    names = {name for cls in PROGRAMS.values() for name in names_of(cls)}
    names |= {name.rpartition(".")[0] for name in names}
    assert set(HONOURED) <= names


def test_every_test_of_the_table_exists():
    table = {**HONOURED, **{str(i): t for i, c in enumerate(COMMANDS.values()) for t in c.values()}}
    for shown in sorted(set(table.values())):
        file, _, name = shown.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert f"test_{name}" in defined, shown


def test_the_page_is_the_table():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.scripts.test_options"


MODULES = {"evaluate": evaluate, "profile_val": profile_val, "predict": predict}


@pytest.mark.parametrize("program", MODULES)
def test_options_of_other_programs_are_refused(program, monkeypatch, capsys):
    own = set(names_of(PROGRAMS[program]))
    for name in sorted({n for cls in PROGRAMS.values() for n in names_of(cls)} - own):
        monkeypatch.setattr(sys, "argv", [f"{program}.py", flag(name), "1"])
        with pytest.raises(SystemExit) as stop:
            MODULES[program].parse()
        assert stop.value.code == 2, name
    capsys.readouterr()


# ---- Flags that would change nothing

HARD_STYLE = "--data.drawn-style hard"
UNUSED = {
    "train": [
        "--data.drawn-level lines --data.root ROOT",
        "--data.drawn-style hard --data.root ROOT",
        f"--data.drawn-backgrounds ROOT {HARD_STYLE} --data.root ROOT",
        f"--data.drawn-textures ROOT {HARD_STYLE} --data.root ROOT",
        "--data.drawn-seed 1 --data.root ROOT",
        "--data.drawn-dir ROOT --data.root ROOT",
        "--data.drawn-train 2 --data.root ROOT --data.drawn-mix 2",
        "--data.drawn-val 2 --data.root ROOT",
        "--data.format ufo",
        "--data.skip-missing",
        "--data.ignore-marks void",
        "--data.prefetch-factor 4 --data.num-workers 0",
        "--data.persistent-workers --data.num-workers 0",
        "--data.no-persistent-workers --data.num-workers 0",
        "--metric.cleval.scale-bins 0 1",
        "--optim.step-size 3 --optim.schedule cosine",
        "--optim.gamma 0.5 --optim.schedule cosine",
        "--augment.jpeg-quality 30 50",
        "--train.low-recall 0.5 --train.low-recall-images 0",
        "--data.fill-cache --data.check-only",
    ],
    "evaluate": [
        "--data.drawn-train 2",
        "--data.images.train a --data.root ROOT",
        "--data.annotations.train=a --data.root ROOT",
        "--data.drawn-seed=1 --data.root ROOT",
        "--draw-worst 2 --sweep",
        "--draw_worst 2 --sweep",
        "--data.scoring-workers 1 --sweep",
        *(f"{flag} 2 --sweep" for flag in map(LossConfig.flag, names_of(LossConfig))),
        "--data.cache none --tile auto",
        "--data.no-persistent-workers --tile auto",
        "--data.no-pin-memory --tile auto",
        "--data.prefetch-factor 3 --tile auto",
        "--data.scoring-workers 1 --tile auto",
        "--targets.thresh-max 0.8 --tile auto",
        "--targets.thresh-min 0.2 --tile auto",
        *(f"{flag} 2 --tile auto" for flag in map(LossConfig.flag, names_of(LossConfig))),
    ],
    "profile_val": [
        "--data.images.train a --data.root ROOT",
        "--data.annotations.train a --data.root ROOT",
        "--tolerance 0.2",
        "--data.format ufo",
    ],
}


@pytest.mark.parametrize(
    ("program", "words"), [(program, words) for program in UNUSED for words in UNUSED[program]]
)
def test_a_flag_that_changes_nothing_is_refused(program, words, tmp_path, monkeypatch):
    argv = [word.replace("ROOT", str(tmp_path)) for word in words.split()]
    monkeypatch.setattr(sys, "argv", [f"{program}.py", *argv])
    name = argv[0].split("=")[0].replace("_", "-").replace(".no-", ".")
    some = {unused.why for group in ("data", program) for unused in RULES[group]}
    with pytest.raises(InputError) as refused:
        {**MODULES, "train": train}[program].parse()
    told, _, why = str(refused.value).partition(": ")
    assert told == ("--data.drawn-style" if HARD_STYLE in words else name)
    assert why in some


def test_every_rule_has_a_command_line():
    given = {
        flag.replace(".no-", ".")
        for lines in UNUSED.values()
        for line in lines
        for flag in line.split()
    }
    assert {flag for rules in RULES.values() for rule in rules for flag in rule.flags} <= given


def test_flags_that_are_of_use_are_taken(tmp_path):
    cfg = Config(data=DataConfig(root=tmp_path, drawn_mix=4))
    refuse_unused(cfg, "train", ["--data.drawn-seed", "1", "--data.format=ufo"])
    refuse_unused(Config(), "train", ["--data.drawn-train", "9", "--optim.gamma", "0.2"])
    refuse_unused(EvaluateConfig(split="train"), "evaluate", ["--data.drawn-train", "9"])
    for cls, program in ((EvaluateConfig, "evaluate"), (ProfileConfig, "profile_val")):
        held_back = replace(cls().data, root=tmp_path, val_fraction=0.1)
        refuse_unused(cls(data=held_back), program, ["--data.images.train", "scans"])


# ---- What no other test shows

AUGMENTED = {
    "flip": 1.0,
    "rotate": 20.0,
    "quarter_turns": 1.0,
    "scale": (1.5, 2.0),
    "crop": 1.0,
    "color": 1.0,
    "blur": 1.0,
    "noise": 1.0,
    "jpeg": 1.0,
    "jpeg_quality": (5, 6),
    "stretch": (0.5, 0.6),
    "low_resolution": 1.0,
    "defocus": 1.0,
    "shade": 1.0,
    "invert": 1.0,
    "show_through": 1.0,
    "crease": 1.0,
    "fade": 1.0,
}


@pytest.mark.parametrize("name", names_of(AugmentConfig))
def test_an_augmentation_changes_the_image(name):
    base = {"flip": 0.0, "jpeg": 1.0 if name == "jpeg_quality" else 0.0}
    image, quads = draw_page(np.random.default_rng(0), 200, 200)[:2]
    polygons = list(np.asarray(quads, np.float32))
    ignored, texts = np.zeros(len(polygons), bool), [""] * len(polygons)
    sample = Sample(
        image, polygons, ignored, texts, "x", np.eye(3), polygons, image.shape[:2]
    )  # fmt: skip
    made = []
    for changes in ({}, {name: AUGMENTED[name]}):
        transform = TrainTransform(AugmentConfig(**{**base, **changes}), image_size=192)
        rng = np.random.default_rng(1)
        made.append(transform(sample, transform.geometry(rng), rng).image)
    assert not np.array_equal(*made)


def test_loader_options_reach_the_loader(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "usable_cores", lambda: 8)
    monkeypatch.setattr(workers.torch.cuda, "is_available", lambda: True)
    for changes in (
        {"batch_size": 3},
        {"num_workers": 3},
        {"prefetch_factor": 5},
        {"persistent_workers": False},
        {"pin_memory": False},
    ):
        data = EvalDataConfig(cache_dir=tmp_path, **changes)
        loader = val_loader([], data, TargetsConfig())
        ((name, value),) = changes.items()
        assert getattr(loader, name) == value


def test_a_named_device_and_precision_are_taken():
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="cuda:77"):
        resolve_device("cuda:77")
    for name in ("fp32", "bf16", "fp16"):
        assert resolve_precision(name, resolve_device("cpu")) == name


OWN = {
    "root": Path("other"), "format": "ufo", "skip_missing": True, "ignore_marks": ("void",),
    "follow_links": True, "val_fraction": 0.1, "cache_dir": Path("kept"),
    "images": SplitPaths(train=Path("scans")), "annotations": SplitPaths(train=Path("a.json")),
}  # fmt: skip
ALL_DRAWN = {
    "drawn_train": 3, "drawn_val": 3, "drawn_level": "lines", "drawn_style": "hard",
    "drawn_seed": 5, "drawn_dir": Path("receipts"),
}  # fmt: skip
HARD_ONES = {"drawn_backgrounds": Path("tables"), "drawn_textures": Path("creased")}


class EnoughSeenError(Exception):
    """Ends a call once the test has seen what it looks for."""


@pytest.mark.parametrize(
    ("base", "name", "value"),
    [
        *(({"root": Path("mine")}, *item) for item in OWN.items()),
        *(({}, *item) for item in ALL_DRAWN.items()),
        *(({"drawn_style": "hard"}, *item) for item in HARD_ONES.items()),
    ],
)
def test_settings_of_data_reach_what_draws_and_reads(monkeypatch, base, name, value):
    calls: list[Any] = []

    def draw(*args, **given):
        calls.append((args, given))
        return Path("drawn")

    def read(*args, **given):
        calls.append((args, given))
        raise EnoughSeenError

    monkeypatch.setattr(splits.synthetic, "build", draw)
    monkeypatch.setattr(splits.index, "load_records", read)
    seen = []
    for changes in ({}, {name: value}):
        calls.clear()
        with pytest.raises(EnoughSeenError):
            splits.load_records(SplitDataConfig(**{**base, **changes}), ["train", "val"])
        seen.append(list(calls))
    assert seen[0] != seen[1]


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("train", "low_recall", 0.123),
        ("train", "low_recall_images", 5),
        ("data", "scoring_workers", 3),
    ],
)
def test_settings_of_validation_reach_it(monkeypatch, section, name, value):
    opened: list[int | None] = []

    def open_pool(workers, *_):
        opened.append(workers)
        return nullcontext()

    monkeypatch.setattr(validation, "open_pool", open_pool)
    cfg = Config()
    cfg = replace(cfg, **{section: replace(getattr(cfg, section), **{name: value})})
    made = validation.Validation(
        nn.Identity(), nn.Identity(), [], {"val": []}, cfg, resolve_device("cpu"), None
    )
    with made:
        found = [made.low_recall.threshold, made.low_recall.most, *opened]
    assert value in found


def test_a_check_only_checks(monkeypatch):
    monkeypatch.setattr(setup.splits, "check", lambda *_: 7)
    with pytest.raises(SystemExit) as stop:
        setup.load_records(Config(data=DataConfig(check_only=True)))
    assert stop.value.code == 7


def test_export_measures_so_many_images(tmp_path):
    data = write_dataset(tmp_path, train=1, val=3)
    for asked, count in ((None, 3), (2, 2)):
        assert len(evaluated(ExportConfig(evaluate=data, images=asked))) == count


@pytest.mark.parametrize("asked", [True, False])
def test_imagenet_weights_are_loaded_where_asked(asked, monkeypatch):
    loaded = []
    monkeypatch.setattr(network, "load_imagenet", lambda *given: loaded.append(given))
    model = ModelConfig(encoder="mobilenetv3_small_050", fpn_channels=16, pretrained=asked)
    cpu = resolve_device("cpu")
    _, weights = network.build_network(Config(model=model), cpu, resumed=False)
    assert (len(loaded), weights) == ((1, "imagenet") if asked else (0, "random"))


def test_predict_hands_its_settings_to_the_detector(monkeypatch):
    made = []
    monkeypatch.setattr(predict, "Detector", lambda *args, **given: made.append(given))
    cfg = PredictConfig(images=())
    for changes in (
        {"image_size": 96},
        {"shrink_ratio": 0.6},
        {"tile": "off"},
        {"num_workers": 1},
        {"batch_size": 3},
        {"provider": "openvino", "onnx": Path("net.onnx")},
        {"fast": True},
        {"device": "cpu"},
        {"precision": "bf16"},
        {"postprocess": PostprocessConfig(box_thresh=0.7)},
    ):
        predict.load_detector(cfg)
        predict.load_detector(replace(cfg, **changes))
        plain, other = made[-2:]
        assert [plain[name] != other[name] for name in plain].count(True) == 1


def test_crops_are_written_where_asked(tmp_path):
    page = tmp_path / "page.png"
    write_picture(page, draw_receipt(np.random.default_rng(0))[0])
    cfg = PredictConfig(
        images=(str(page),), checkpoint=released_weights(), out=tmp_path / "out",
        crops=tmp_path / "crops", device="cpu", num_workers=1, tile="off",
    )  # fmt: skip
    predict.main(cfg)
    lines = (tmp_path / "crops" / "crops.csv").read_text().splitlines()
    assert len(lines) - 1 == len(list((tmp_path / "crops" / "page").glob("*.png"))) > 5


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
