"""profile_val.py end to end."""

import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import profile_val
from configs import ProfileConfig
from dbnet.inference.weights import released_weights
from dbnet.reporting.advice import advice
from dbnet.reporting.baseline import read_profile
from dbnet.reporting.profile import profile_report, screen_summary
from dbnet.reporting.verdicts import verdicts
from dbnet.settings import DataConfig, ModelConfig
from tests.drawing import write_dataset

ORIGINAL = (
    "val_batch_mean",
    "val_batch_median",
    "val_batch_p95",
    "val_batch_p99",
    "val_batch_std",
    "val_epoch_time",
    "val_num_batches",
    "gpu_memory_gb",
    "gpu_memory_reserved_gb",
    "cpu_memory_percent",
)


@pytest.fixture(scope="module")
def cfg(tmp_path_factory) -> ProfileConfig:
    folder = tmp_path_factory.mktemp("profile")
    root = write_dataset(folder / "pages", train=1, val=5)
    return ProfileConfig(
        data=DataConfig(
            root=root, image_size=96, batch_size=2, num_workers=0, cache_dir=folder / "cache"
        ),
        model=ModelConfig(encoder="mobilenetv3_small_050", fpn_channels=16),
        device="cpu",
        precision="fp32",
        train_steps=1,
        out=folder / "first",
    )


@pytest.fixture(scope="module", autouse=True)
def empty_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))  # where there is no runs/ with a checkpoint
        yield


@pytest.fixture(scope="module")
def first(cfg) -> dict:
    return profile_val.main(cfg)


def test_profile_names_every_figure_and_adds_up(cfg, first):
    saved = json.loads((cfg.out / "profile.json").read_text())
    assert saved == json.loads(json.dumps(first))
    assert saved["config"]["model"] == {"encoder": "mobilenetv3_small_050", "fpn_channels": 16}
    for name in ORIGINAL:
        assert isinstance(saved[f"performance/{name}"], (int, float)), name
    assert saved["performance/val_num_batches"] == 3 and saved["images"] == 5
    host = [s for name, s in saved["stages"].items() if not name.startswith("worker/")]
    batches = saved["performance/val_batch_mean"] * 3
    assert sum(s["total"] for s in host) == pytest.approx(batches, rel=0.02)
    assert batches <= saved["performance/val_epoch_time"]
    assert {"worker/decode", "worker/transform", "worker/targets"} <= set(saved["stages"])
    filled = {"targets": {"hits": 5, "misses": 0, "bytes_stored": 0}}
    assert saved["cache"] == filled, "before anything is measured"


def test_so_many_batches_warm_up(cfg, tmp_path, monkeypatch):
    class EnoughSeenError(Exception):
        pass

    def warm_up(*_, batches, **__):
        raise EnoughSeenError(batches)

    monkeypatch.setattr(profile_val, "warm_up", warm_up)
    with pytest.raises(EnoughSeenError, match=r"^7$"):
        profile_val.main(replace(cfg, warmup=7, out=tmp_path / "out"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--model.encoder", "resnet50"], "--model.encoder: .* has its own network"),
        (["--model.fpn_channels=32"], "--model.fpn-channels: .* has its own network"),
    ],
)
def test_a_checkpoint_determines_the_network(monkeypatch, words, line):
    checkpoint = str(released_weights())
    monkeypatch.setattr(sys, "argv", ["profile_val.py", "--checkpoint", checkpoint, *words])
    with pytest.raises(ValueError, match=line):
        profile_val.parse()
    monkeypatch.setattr(sys, "argv", ["profile_val.py", "--checkpoint", checkpoint])
    assert profile_val.parse().checkpoint == released_weights()


def test_without_a_checkpoint_only_the_network_is_chosen(monkeypatch):
    words = ["profile_val.py", "--model.encoder", "resnet50", "--model.fpn-channels=32"]
    monkeypatch.setattr(sys, "argv", words)
    model = profile_val.parse().model
    assert (model.encoder, model.fpn_channels) == ("resnet50", 32)
    monkeypatch.setattr(sys, "argv", [*words, "--model.weights", "best.pt"])
    with pytest.raises(SystemExit):  # that flag is train.py's
        profile_val.parse()


def test_another_start_of_the_same_second_gets_a_folder_of_its_own(cfg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: form.split("-")[0] + "-NOW")
    (tmp_path / "runs" / "profile-NOW").mkdir(parents=True)
    profile_val.main(replace(cfg, out=None))
    assert list(Path("runs/profile-NOW").iterdir()) == []
    assert Path("runs/profile-NOW-2/profile.json").is_file()


def test_report_names_the_limit_and_ends_in_a_decision(cfg, first):
    report = (cfg.out / "report.md").read_text()
    assert f"the forward pass alone, {first['performance/forward_alone_s']:.2f} s" in report
    text = report.split("![stages]")[0].rstrip()
    assert text.splitlines()[-1].startswith("**Measure "), "three batches are too few"
    assert "| GPU" not in report
    assert first["series"]["image_ids"] == [
        ["page_0.png", "page_1.png"],
        ["page_2.png", "page_3.png"],
        ["page_4.png"],
    ]
    assert 0 <= first["performance/waited_for_core_alone"] <= 1
    assert (cfg.out / "stages.png").stat().st_size > 1000


def test_the_screen_shows_the_stages_and_what_they_mean(cfg, first):
    shown = screen_summary(first)
    assert shown.splitlines()[0].startswith("Validation of 5 images, 3 batches: ")
    stages, seconds = shown.splitlines()[1:3]
    assert stages.split() == [
        "stage",
        *(name for name in first["stages"] if not name.startswith("worker/")),
    ]
    assert seconds.split()[2:] == [
        f"{first['stages'][name]['total']:.2f}" for name in stages.split()[1:]
    ]
    words = " ".join(shown.split())
    assert all("".join(line.split("**")[:2]) + "." in words for line in verdicts(first))
    assert words.endswith(advice(first)[1])
    assert max(map(len, shown.splitlines())) <= 80
    report = (cfg.out / "report.md").read_text()
    assert all(f"- {line}" in report.splitlines() for line in verdicts(first))


def test_baseline_passes_fails_and_is_refused(cfg, first, tmp_path, capsys):
    saved = json.loads((cfg.out / "profile.json").read_text())

    def against(name: str, **changes) -> None:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(saved | changes))
        profile_val.main(replace(cfg, baseline=path, out=tmp_path / name, tolerance=50.0))

    slow = {n: {k: v * 1e3 for k, v in s.items()} for n, s in saved["stages"].items()}
    slow = {n: s | {"count": 3} for n, s in slow.items()}
    against("slow", stages=slow)
    assert "no stage is slower" in capsys.readouterr().out
    fast = {n: {k: v * 1e-6 for k, v in s.items()} for n, s in saved["stages"].items()}
    fast = {n: s | {"count": 3} for n, s in fast.items()}
    with pytest.raises(SystemExit, match="slower than"):
        against("fast", stages=fast)
    with pytest.raises(ValueError, match=r"data\.image_size: 64 -> 96"):
        against("other", compared=saved["compared"] | {"data.image_size": 64})
    without = {name: value for name, value in saved["compared"].items() if name != "ranks"}
    against("before there were ranks", compared=without)
    with pytest.raises(ValueError, match="ranks: 8 -> 1"):
        against("ranks", compared=saved["compared"] | {"ranks": 8})
    with pytest.raises(ValueError, match=r"data\.drawn_level: lines -> words"):
        against("level", compared=saved["compared"] | {"data.drawn_level": "lines"})
    del without["data.drawn_level"]
    against("before levels were compared", compared=without)
    lines = saved["config"] | {"data": saved["config"]["data"] | {"drawn_level": "lines"}}
    with pytest.raises(ValueError, match=r"data\.drawn_level: lines -> words"):
        against("other level, not compared", compared=without, config=lines)
    for name, other in (("device_name", "H100"), ("cpu", "old"), ("threads", 64), ("torch", "1")):
        told = re.escape(f"another machine ({name}: {other} -> {saved['compared'][name]})")
        with pytest.raises(ValueError, match=told):
            against(f"other {name}", compared=saved["compared"] | {name: other})
    capsys.readouterr()
    earlier = {k: v for k, v in saved["compared"].items() if k not in ("cpu", "torch")}
    against("earlier", compared=earlier)
    told = "lacks cpu, torch; the comparison holds only on the same machine"
    assert told in capsys.readouterr().out
    with pytest.raises(ValueError, match="nowhere"):
        profile_val.main(replace(cfg, out=None, baseline=tmp_path / "nowhere.json"))


def test_the_reference_runs_beside(cfg, tmp_path):
    pytest.importorskip("cleval")
    profile = profile_val.main(replace(cfg, compare_reference=True, out=tmp_path))
    assert profile["reference"]["wall"] > 0
    assert {"worker/targets", "postprocess", "metric"} <= set(profile["reference"])
    assert "| reference" in (tmp_path / "report.md").read_text()


def test_the_earlier_flag_works_and_prints_a_line(monkeypatch, capsys):
    words = ["profile_val.py", "--model.encoder", "resnet50", "--compare-naive"]
    monkeypatch.setattr(sys, "argv", words)
    assert profile_val.parse().compare_reference
    assert "--compare-naive is now --compare-reference" in capsys.readouterr().err


def test_a_profile_with_the_earlier_name_of_the_reference_is_read(cfg, first, tmp_path):
    old = json.loads((cfg.out / "profile.json").read_text())
    del old["reference"]
    seconds = {"worker/targets": 1.0, "postprocess": 2.0, "metric": 3.0, "wall": 9.0}
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old | {"naive": seconds}))
    read = read_profile(path)
    assert read["reference"] == seconds and "naive" not in read
    assert "reference" in profile_report(read)


def test_trace_on_request(cfg, tmp_path):
    profile_val.main(replace(cfg, trace=True, out=tmp_path / "new", train_steps=0))
    assert "traceEvents" in json.loads((tmp_path / "new" / "trace.json").read_text())
