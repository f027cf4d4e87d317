"""train.py and evaluate.py end to end, on pages of a few bars each."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import evaluate
import train
from configs import Config, EvaluateConfig
from dbnet.checkpoint import load_checkpoint
from dbnet.settings import AugmentConfig, OptimConfig
from tests.drawing import write_dataset, write_receipt_windows
from tests.faults import runs
from tests.faults.runs import same


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("pages"), train=5, val=2)


def small(root: Path, out: Path, **changes) -> Config:
    """A run of seconds; five pages in batches of two leave a last batch of one."""
    return runs.small(root, out, **{"epochs": 3, **changes})


def state_of(folder: Path) -> dict:
    return load_checkpoint(folder / "last.pt")


STATE = (*runs.STATE, "step", "best")


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9}], ids=["plain", "ema"])
def test_stopped_and_resumed_equals_uninterrupted_bitwise(pages, tmp_path, changes):
    whole = train.main(small(pages, tmp_path / "whole", **changes))
    part = train.main(small(pages, tmp_path / "part", **{**changes, "epochs": 1}))
    resumed = small(pages, tmp_path / "part", **changes, resume=part)
    assert train.main(resumed) == part
    a, b = state_of(whole), state_of(part)
    for name in STATE:
        assert same(a[name], b[name]), name
    lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (whole, part)]
    for one, other in zip(*(map(json.loads, text) for text in lines), strict=True):
        for key in one:
            if key.startswith(("val/cleval", "val/iou", "val/loss", "train/loss", "step")):
                assert one[key] == other[key], key
    assert json.loads((part / "config.json").read_text())["train"]["epochs"] == 3


@pytest.mark.faults("0 or 2 workers")
def test_the_number_of_workers_does_not_change_the_weights(pages, tmp_path):
    states = []
    for workers in (0, 2):
        cfg = small(pages, tmp_path / str(workers), epochs=2)
        cfg = replace(cfg, data=replace(cfg.data, num_workers=workers))
        states.append(state_of(train.main(cfg)))
    assert same(states[0]["model"], states[1]["model"])


def test_a_run_leaves_what_it_promises(pages, tmp_path):
    folder = train.main(small(pages, tmp_path, epochs=2))
    names = {path.name.split(".")[0] for path in folder.iterdir()}
    promised = {"config", "metrics", "events", "last", "best", "first_batch", "examples"}
    assert names - {""} == promised  # and .lock
    config = json.loads((folder / "config.json").read_text())
    assert config["data"]["batch_size"] == 2 and config["built"]["weights"] == "random"
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [0, 1]
    assert records[-1]["step"] == 6
    best = load_checkpoint(folder / "best.pt")
    assert best["best"] == max(record["val/cleval/hmean"] for record in records)


@pytest.mark.faults("run folder that exists")
def test_an_existing_run_is_never_written_into(pages, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "last.pt").write_bytes(b"precious")
    with pytest.raises(ValueError, match="exists"):
        train.main(small(pages, tmp_path))
    assert [path.name for path in folder.iterdir()] == ["last.pt"]
    assert (folder / "last.pt").read_bytes() == b"precious"


@pytest.mark.faults("resume with other settings")
def test_a_resumed_run_keeps_its_settings(pages, tmp_path):
    folder = train.main(small(pages, tmp_path, epochs=1))
    cfg = small(pages, tmp_path, resume=folder, accumulate=1)
    with pytest.raises(ValueError, match=r"train\.accumulate: 2 -> 1"):
        train.main(cfg)


@pytest.mark.faults("resume on other data")
def test_a_resumed_run_keeps_its_data(pages, tmp_path):
    folder = train.main(small(pages, tmp_path, epochs=1))
    other = write_dataset(tmp_path / "other", train=4, val=2)
    with pytest.raises(ValueError, match=r"'train': 5.*'train': 4"):
        train.main(small(other, tmp_path, resume=folder))


def test_a_cosine_run_keeps_its_length(pages, tmp_path):
    cfg = small(pages, tmp_path, epochs=1)
    cfg = replace(cfg, optim=OptimConfig(schedule="cosine"))
    folder = train.main(cfg)
    longer = replace(cfg, train=replace(cfg.train, epochs=2, resume=folder))
    with pytest.raises(ValueError, match=r"train\.epochs: 1 -> 2 \(the cosine"):
        train.main(longer)


def test_weights_start_a_new_run(pages, tmp_path):
    first = train.main(small(pages, tmp_path, epochs=1))
    cfg = small(pages, tmp_path, epochs=1, name="second")
    # A learning rate of nearly nothing leaves the weights where they came from.
    cfg = replace(
        cfg, model=replace(cfg.model, weights=first / "last.pt"), optim=OptimConfig(lr=1e-12)
    )
    before, after = state_of(first)["model"], state_of(train.main(cfg))["model"]
    weights = [name for name in before if name.endswith("weight")]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in weights)
    other = replace(cfg, model=replace(cfg.model, fpn_channels=32))
    with pytest.raises(ValueError, match="does not fit"):
        train.main(replace(other, train=replace(other.train, name="third")))


@pytest.mark.faults("no usable text")
def test_no_usable_text_stops_the_run(tmp_path):
    root = write_dataset(tmp_path / "pages", train=1, val=1)
    empty = {"images": {"page_0.png": {"words": {}}}}
    (root / "jsons" / "train.json").write_text(json.dumps(empty))
    with pytest.raises(ValueError, match="train has no usable text"):
        train.main(small(root, tmp_path))


@pytest.mark.parametrize("workers", [0, 2])
def test_training_overfits_four_receipts(tmp_path, workers):
    root = write_receipt_windows(tmp_path / "receipts", count=4, size=256)
    cfg = small(root, tmp_path, epochs=100, val_every=100, accumulate=1)
    cfg = replace(
        cfg,
        data=replace(cfg.data, image_size=256, num_workers=workers),
        augment=AugmentConfig(flip=0.0),
        model=replace(cfg.model, fpn_channels=32),
        optim=OptimConfig(lr=6e-3, schedule="cosine", warmup_epochs=2),
    )
    folder = train.main(cfg)
    figures = evaluate.main(
        EvaluateConfig(checkpoint=folder / "best.pt", data=cfg.data, device="cpu")
    )
    assert figures["cleval/hmean"] >= 0.95
    assert figures["images"] == 4


def test_evaluate_writes_metrics_predictions_and_pictures(pages, tmp_path):
    folder = train.main(small(pages, tmp_path, epochs=1))
    cfg = small(pages, tmp_path)
    out = tmp_path / "eval"
    figures = evaluate.main(
        EvaluateConfig(
            checkpoint=folder / "last.pt", data=cfg.data, device="cpu", draw_worst=1, out=out
        )
    )
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["cleval/hmean"] == figures["cleval/hmean"]
    assert metrics["oracle/cleval/hmean"] > 0.95, "the bars of the truth itself"
    words = json.loads((out / "predictions.json").read_text())["images"]
    assert sorted(words) == ["page_0.png", "page_1.png"]
    assert sorted(json.loads((out / "per_image.json").read_text())) == sorted(words)
    assert len(list((out / "worst").iterdir())) == 1
