"""Results of earlier calls of the scripts."""

from pathlib import Path

import pytest

import evaluate
import predict
import profile_val
from configs import EvaluateConfig, PredictConfig, ProfileConfig
from dbnet.errors import InputError
from dbnet.settings import DataConfig

WEIGHTS = Path(__file__).parents[2] / "weights" / "dbnet-efficientnet_lite0.pt"
NAMES = {
    "evaluate": (
        "metrics.json",
        "per_image.json",
        "predictions.json",
        "config.json",
        "errors.html",
        "worst",
    ),
    "profile": ("profile.json", "report.md", "stages.png", "batches.png", "trace.json"),
    "predict": ("predictions.json", "predictions.csv", "drawings"),
}


@pytest.mark.faults("--out of an earlier call, in each script", "refused before any work")
@pytest.mark.parametrize(("script", "name"), [(s, n) for s, names in NAMES.items() for n in names])
def test_earlier_results_are_not_overwritten(pages, tmp_path, monkeypatch, script, name):
    def too_late(*_):
        raise AssertionError("work has begun")

    monkeypatch.setattr(evaluate, "load_records", too_late)
    monkeypatch.setattr(profile_val, "load_records", too_late)
    data = DataConfig(root=pages)
    calls = {
        "evaluate": lambda: evaluate.main(
            EvaluateConfig(checkpoint=WEIGHTS, data=data, device="cpu", out=tmp_path)
        ),
        "profile": lambda: profile_val.main(
            ProfileConfig(checkpoint=WEIGHTS, data=data, device="cpu", out=tmp_path)
        ),
        "predict": lambda: predict.main(
            PredictConfig(images=(str(pages),), checkpoint=WEIGHTS, device="cpu", out=tmp_path)
        ),
    }
    (tmp_path / name).write_text("precious")
    with pytest.raises(InputError, match=f"{name}: exists; choose another --out"):
        calls[script]()
    assert (tmp_path / name).read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.faults("--out below a file, in each script", "refused before any work")
@pytest.mark.parametrize("script", ["evaluate", "sweep", "profile", "predict"])
def test_a_folder_that_cannot_be_made_is_refused_first(pages, tmp_path, monkeypatch, script):
    def too_late(*_):
        raise AssertionError("work has begun")

    monkeypatch.setattr(evaluate, "load_records", too_late)
    monkeypatch.setattr(profile_val, "load_records", too_late)
    monkeypatch.setattr(predict, "load_detector", too_late)
    (tmp_path / "file").write_text("precious")
    common = {"checkpoint": WEIGHTS, "device": "cpu", "out": tmp_path / "file" / "out"}
    data = DataConfig(root=pages)
    calls = {
        "evaluate": lambda: evaluate.main(EvaluateConfig(data=data, **common)),
        "sweep": lambda: evaluate.main(EvaluateConfig(data=data, sweep=True, **common)),
        "profile": lambda: profile_val.main(ProfileConfig(data=data, **common)),
        "predict": lambda: predict.main(PredictConfig(images=(str(pages),), **common)),
    }
    with pytest.raises(InputError, match=r"cannot be written .*; choose another --out"):
        calls[script]()
    assert (tmp_path / "file").read_text() == "precious"
