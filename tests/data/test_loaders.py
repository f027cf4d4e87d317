"""Loaders and caches from settings; the check of a data set; filling the cache."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from configs import Config
from dbnet.data import loaders, splits
from dbnet.data.annotations import scan as annotations
from dbnet.errors import InputError
from dbnet.settings import AugmentConfig, DataConfig, LossConfig, SplitPaths, TargetsConfig
from dbnet.structures import Batch, DBOutputs
from dbnet.training import resume
from dbnet.training.engine import StepReport
from dbnet.training.logger import NOTHING_YET, RunLogger
from dbnet.training.losses import DBLoss
from tests.drawing import write_dataset

TRAIN, VAL = 6, 3
STILL = AugmentConfig(flip=0.5, color=0.3, blur=0.3, noise=0.3, jpeg=0.3)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("pages"), train=TRAIN, val=VAL)


@pytest.fixture(scope="module")
def records(root):
    return {s: annotations.load_records(root, s, format="ufo")[0] for s in ("train", "val")}


def data_config(root: Path, cache_dir: Path, **changes) -> DataConfig:
    values = dict(root=root, image_size=128, batch_size=2, num_workers=0, cache_dir=cache_dir)
    return DataConfig(**{**values, **changes})


def loaders_of(records, data, augment=STILL, targets=None):
    targets = targets or TargetsConfig()
    caches = loaders.open_caches(data, targets)
    loader = loaders.train_loader(records["train"], data, augment, targets, seed=0, caches=caches)
    return loader, loaders.val_loader(records["val"], data, targets, caches=caches), caches


def one_pass(*loaders, epoch: int = 0) -> list[Batch]:
    for loader in loaders:
        loader.sampler.epoch = epoch
    return [batch for loader in loaders for batch in loader]


def hits_and_misses(caches) -> dict[str, tuple[int, int]]:
    return {name: counts[:2] for name, counts in caches.counts().items()}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        ("none", {}),
        ("targets", {"targets": (9, 9)}),
        ("all", {"targets": (9, 9), "images": (9, 9)}),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_second_epoch_hits_in_all_workers(records, root, tmp_path, cache, expected, workers):
    data = data_config(root, tmp_path / "cache", cache=cache, num_workers=workers)
    train_loader, val_loader, caches = loaders_of(records, data)
    for epoch in (0, 1):
        one_pass(train_loader, val_loader, epoch=epoch)
    assert hits_and_misses(caches) == expected
    assert len(files(tmp_path)) == 9 * len(expected)
    assert set(caches.figures(since=caches.counts())) == {
        f"cache/{name}_bytes" for name in expected
    }


RANDOM = [{"rotate": 1.0}, {"quarter_turns": 0.1}, {"scale": (1.0, 1.1)}, {"crop": 0.1}]


@pytest.mark.parametrize("changes", RANDOM, ids=lambda changes: next(iter(changes)))
def test_random_geometry_bypasses_the_cache_and_says_so(records, root, tmp_path, changes, capsys):
    data = data_config(root, tmp_path, cache="all")
    train_loader, val_loader, caches = loaders_of(records, data, AugmentConfig(**changes))
    one_pass(train_loader)
    assert hits_and_misses(caches) == {"targets": (0, 0), "images": (0, 0)}
    one_pass(val_loader)
    assert hits_and_misses(caches) == {"targets": (0, VAL), "images": (0, VAL)}
    assert capsys.readouterr().out.splitlines() == [
        f"training images: not cached, the geometry is random ({next(iter(changes))})"
    ]


def losses_of(batches: list[Batch]) -> np.ndarray:
    """total, prob, thresh, binary of each batch, float (n, 4), for a net that is often wrong."""
    criterion = DBLoss(LossConfig())
    losses = []
    for index, batch in enumerate(batches):
        noise = torch.randn(2, *batch.shrink_map.shape, generator=torch.manual_seed(index))
        prob_logits, thresh_logits = 2 * noise + torch.stack(
            [8 * batch.images[:, :1] / 255 - 4] * 2
        )
        losses.append(torch.stack(criterion(DBOutputs(prob_logits, thresh_logits), batch)).numpy())
    return np.array(losses)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_losses_with_the_cache_are_those_without_it(records, root, tmp_path, flip):
    augment = AugmentConfig(flip=flip, color=0.3, noise=0.3)
    expected, cold, warm = (
        losses_of(one_pass(*loaders_of(records, data_config(root, tmp_path, cache=c), augment)[:2]))
        for c in ("none", "all", "all")
    )
    assert np.array_equal(cold, warm)
    assert not np.array_equal(cold, expected), "the cache was not in use"
    np.testing.assert_allclose(cold, expected, rtol=0, atol=1e-3)
    assert expected[:, 0].min() > 1


def test_changed_settings_miss_what_depends_on_them(records, root, tmp_path):
    def asked(targets=None, **changes):
        data = data_config(root, tmp_path, **({"cache": "all"} | changes))
        train_loader, val_loader, caches = loaders_of(records, data, targets=targets)
        one_pass(train_loader, val_loader)
        return hits_and_misses(caches)

    assert asked() == {"targets": (0, 9), "images": (0, 9)}
    assert asked(TargetsConfig(shrink_ratio=0.5)) == {"targets": (0, 9), "images": (9, 0)}
    assert asked(image_size=160) == {"targets": (0, 9), "images": (0, 9)}
    assert asked(train_size=96) == {"targets": (3, 6), "images": (3, 6)}
    assert asked(batch_size=3) == {"targets": (9, 0), "images": (9, 0)}


def test_loaders_open_caches_of_their_own_if_given_none(records, root, tmp_path):
    one_pass(loaders.val_loader(records["val"], data_config(root, tmp_path), TargetsConfig()))
    assert len(files(tmp_path)) == VAL


def fill(records, data, augment=STILL) -> int:
    return loaders.fill_cache(records, data, augment, TargetsConfig())


@pytest.mark.parametrize("workers", [0, 2])
def test_after_filling_everything_hits(records, root, tmp_path, workers, capsys):
    data = data_config(root, tmp_path, cache="all", num_workers=workers)
    assert fill(records, data) == 0
    assert "images: 9 of 9" in capsys.readouterr().out
    train_loader, val_loader, caches = loaders_of(records, data)
    one_pass(train_loader, val_loader, epoch=5)
    assert hits_and_misses(caches) == {"targets": (9, 0), "images": (9, 0)}


def test_filling_passes_what_is_there(records, root, tmp_path, capsys):
    data = data_config(root, tmp_path)
    one_pass(loaders.val_loader(records["val"], data, TargetsConfig()))
    assert fill(records, data) == 0
    assert f"targets: hits {VAL}, misses {TRAIN}, " in capsys.readouterr().out


def test_filling_leaves_random_training_out(records, root, tmp_path, capsys):
    assert fill(records, data_config(root, tmp_path), AugmentConfig(rotate=3.0)) == 0
    told = capsys.readouterr().out
    assert f"images: {VAL} of {VAL}, " in told and "the geometry is random (rotate)" in told
    assert len(files(tmp_path)) == VAL


def test_a_stopped_filling_keeps_what_it_has(records, root, tmp_path, capsys, monkeypatch):
    asked = []

    def stop_at_the_fifth(record, geometry):
        asked.append(record)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return load_sample(record, geometry)

    load_sample = loaders.load_sample
    monkeypatch.setattr(loaders, "load_sample", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        fill(records, data_config(root, tmp_path))
    assert "images: 4 of 9, " in capsys.readouterr().out
    monkeypatch.undo()
    assert fill(records, data_config(root, tmp_path)) == 0
    assert "targets: hits 4, misses 5" in capsys.readouterr().out


def test_filling_what_cannot_be_written_fails(records, root, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    assert fill(records, data_config(root, tmp_path / "file" / "cache")) == 1
    assert len(caplog.messages) == 1


def test_filling_without_a_cache_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--data\.fill-cache: needs --data\.cache"):
        data_config(tmp_path, tmp_path, cache="none", fill_cache=True)


@pytest.fixture
def own_root(tmp_path) -> Path:
    return write_dataset(tmp_path / "pages", train=2, val=2)


def check(root: Path, capsys) -> tuple[int, list[str]]:
    status = splits.check(data_config(root, root / "cache"), ["train", "val"])
    return status, capsys.readouterr().out.splitlines()


def test_a_good_data_set_passes_the_check(own_root, capsys):
    status, lines = check(own_root, capsys)
    assert status == 0
    assert lines[0].startswith("train: ufo, 2 images, ")
    assert lines[1].startswith("val: ufo, 2 images, ")
    assert lines[-1] == "images decoded: 4, problems: 0"
    assert not [line for line in lines if line.startswith(("note", "problem"))]


@pytest.mark.faults("truncated image, ahead")
def test_the_check_finds_a_truncated_image(own_root, capsys):
    path = own_root / "images" / "val" / "page_1.png"
    path.write_bytes(path.read_bytes()[:-60])
    splits.load_records(data_config(own_root, own_root), ["val"])  # headers alone look fine
    status, lines = check(own_root, capsys)
    assert status == 1
    assert [line for line in lines if line.startswith(f"problem: {path}: ")]
    assert lines[-1] == "images decoded: 4, problems: 1"


@pytest.mark.faults("a JPEG whose second half is zeroed", "named by the check")
def test_the_check_names_a_jpeg_that_libjpeg_doubts(own_root, capfd):
    path = own_root / "images" / "val" / "page_1.png"
    Image.open(path).convert("RGB").save(path, "JPEG", quality=95)
    whole = path.read_bytes()
    splits_of = data_config(own_root, own_root, num_workers=2)
    assert splits.check(splits_of, ["train", "val"]) == 0
    assert "warning" not in capfd.readouterr().out
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2 - 2) + whole[-2:])
    assert splits.check(splits_of, ["train", "val"]) == 0
    printed = capfd.readouterr()
    (warning,) = [line for line in printed.out.splitlines() if line.startswith("warning")]
    assert warning.startswith(f"warning: {path}: part of the image may be damaged (Corrupt JPEG")
    assert "Corrupt JPEG" not in printed.err


@pytest.mark.faults("all problems of both splits")
def test_the_check_tells_every_problem_and_note_of_both_splits(own_root, capsys):
    path = own_root / "jsons" / "train.json"
    images = json.loads(path.read_text())["images"]
    images["missing.png"] = {"words": {}}
    images["page_0.png"]["words"]["0000"]["points"] = [[1, 1], [9, 9]]
    path.write_text(json.dumps({"images": images}))
    (own_root / "jsons" / "val.json").write_text("{")
    status, lines = check(own_root, capsys)
    assert status == 1
    problems = [line for line in lines if line.startswith("problem: ")]
    assert len(problems) == 2
    assert "missing.png" in problems[0] and "val.json" in problems[1]
    notes = [line for line in lines if line.startswith("note: ")]
    assert "page_0.png" in notes[0] and "fewer than 3 points" in notes[0]
    (warning,) = [line for line in lines if line.startswith("warning: ")]
    assert (
        "images/val" in warning and "images without a readable annotation, not used (2)" in warning
    )
    assert lines[-1] == "images decoded: 2, problems: 2"


def test_the_check_finds_a_split_without_text(own_root, capsys):
    empty = {"images": {"page_0.png": {"words": {}}}}
    (own_root / "jsons" / "train.json").write_text(json.dumps(empty))
    status, lines = check(own_root, capsys)
    assert status == 1
    assert any("train has no usable text" in line for line in lines)


def test_a_resumed_run_may_move_its_cache_but_not_switch_it(root, tmp_path, capsys):
    def config(**changes) -> Config:
        return Config(data=data_config(root, **({"cache_dir": tmp_path} | changes)))

    one = {"ranks": 1, "earlier_ranks": 1}
    resume.refuse_other_settings(config(cache_dir=tmp_path / "other"), config(), **one)
    assert "resumed with data.cache_dir" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"data\.cache: targets -> none"):
        resume.refuse_other_settings(config(cache="none"), config(), **one)


def test_the_log_tells_the_hit_rate(tmp_path):
    log = RunLogger(folder=tmp_path, epochs=1, epoch=0, step=0, running=None)
    log.start_epoch(0, 1)
    told = {"train/loss_total": 1.0, "train/images_per_second": 1.0}
    told |= {"cache/targets_hit_rate": 0.5, "cache/targets_bytes": 7, "cache/images_hit_rate": 1.0}
    log.end_epoch(told)
    log.close()
    (line,) = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert told.items() <= line.items()


def test_a_resumed_epoch_has_the_times_of_both_parts(tmp_path):
    def train_some(log: RunLogger, seconds: float) -> None:
        log.start_epoch(0, 2)
        for stage in ("data_wait", "forward"):
            log.timer.add(stage, seconds)
        log.on_step(StepReport({"total": 1.0, "prob": 0.0, "thresh": 0.0, "binary": 0.0}, 2, 1, 1))

    options = dict(folder=tmp_path, epochs=1, epoch=0, step=0)
    stopped = RunLogger(**options, running=None)
    train_some(stopped, 3.0)
    running = stopped.running()
    stopped.close()
    assert running["stages"] == {"data_wait": 3.0, "forward": 3.0}

    resumed = RunLogger(**options, running=running)
    train_some(resumed, 4.0)
    record = resumed.end_training()
    assert (record["time_train/data_wait"], record["time_train/forward"]) == (7.0, 7.0)
    assert record["train/seconds"] > running["seconds"]
    resumed.end_epoch(record)
    assert resumed.running() == NOTHING_YET
    resumed.close()

    del running["stages"]  # as earlier versions saved it
    earlier = RunLogger(**options, running=running)
    assert earlier.images == 2 and earlier.running()["stages"] == {}
    earlier.close()


def test_drawn_receipts_join_the_training_images_only(root, tmp_path, capsys):
    data = data_config(root, tmp_path, drawn_mix=2, drawn_level="lines", drawn_dir=tmp_path)
    mixed = splits.load_records(data, ["train", "val"])
    own, drawn = list(mixed["train"])[:TRAIN], list(mixed["train"])[TRAIN:]
    assert [record.image_id for record in own] == [f"page_{i}.png" for i in range(TRAIN)]
    assert [record.image_id for record in drawn] == ["drawn_00000.jpg", "drawn_00001.jpg"]
    assert len(mixed["val"]) == VAL
    assert any(" " in text for record in drawn for text in record.texts)
    assert "drawn" in capsys.readouterr().out
    assert len(splits.load_records(data, ["val"])["val"]) == VAL


def test_named_places_are_those_of_the_settings(root, tmp_path, capsys):
    other = tmp_path / "other"
    (other / "texts").mkdir(parents=True)
    shutil.copytree(root / "images" / "train", other / "pictures")
    whole = json.loads((root / "jsons" / "train.json").read_text())["images"]
    for count in (2, 4):
        chosen = dict(list(whole.items())[:count])
        (other / "texts" / f"{count}.json").write_text(json.dumps({"images": chosen}))
    cfg = data_config(other, tmp_path / "cache", images=SplitPaths(train=Path("pictures")))
    for count in (2, 4, 2):  # an index of the other file is never served
        place = SplitPaths(train=Path("texts") / f"{count}.json")
        found = splits.load_records(replace(cfg, annotations=place), ["train"])["train"]
        assert len(found) == count
        assert all(Path(record.image_path).parent == other / "pictures" for record in found)


def test_links_out_of_the_root_need_the_setting(root, tmp_path, capsys):
    linked = tmp_path / "linked"
    linked.mkdir()
    shutil.copytree(root / "jsons", linked / "jsons")
    (linked / "images").symlink_to(root / "images")
    cfg = data_config(linked, tmp_path / "cache")
    with pytest.raises(InputError, match=r"allow links with --data\.follow-links"):
        splits.load_records(cfg, ["train"])
    found = splits.load_records(replace(cfg, follow_links=True), ["train"])["train"]
    assert len(found) == TRAIN


@pytest.mark.parametrize(
    ("setting", "flag"),
    [
        ({"images": SplitPaths(train=Path("a"))}, "--data.images"),
        ({"annotations": SplitPaths(val=Path("a"))}, "--data.annotations"),
        ({"follow_links": True}, "--data.follow-links"),
    ],
)
def test_places_without_a_root_are_refused(setting, flag):
    with pytest.raises(InputError, match=f"{flag}: is for your own images"):
        DataConfig(**setting)
