"""The run's log: times and warnings."""

import pytest

from dbnet.training.engine import StepReport
from dbnet.training.logger import NOTHING_YET, RunLogger, rounded

LOSSES = {"total": 1.0, "prob": 0.1, "thresh": 0.1, "binary": 0.1}


@pytest.fixture
def log(tmp_path):
    log = RunLogger(folder=tmp_path, epochs=200, epoch=0, step=0, running=None)
    yield log
    log.close()


@pytest.mark.parametrize(
    "seconds, said", [(20, "1 min"), (2500, "42 min"), (32_000, "9 h"), (300_000, "3 days")]
)
def test_durations_are_rounded_as_people_say_them(seconds, said):
    assert rounded(seconds) == said


@pytest.mark.parametrize("seconds_a_batch, said", [(4.0, "about 9 h to go"), (0.01, None)])
def test_a_long_training_is_announced_once(log, monkeypatch, capsys, seconds_a_batch, said):
    clock = iter(range(1, 1000))
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)
    for _ in range(2):
        log.start_epoch(0, 40)
        log.timer.add("data_wait", 0.0)
        for _ in range(8):
            now = seconds_a_batch * next(clock)
            monkeypatch.setattr("time.perf_counter", lambda now=now: now)
            log.on_step(StepReport(LOSSES, 12, 1.0, 1e-3))
        log.bar.close()
    told = [line for line in capsys.readouterr().out.splitlines() if "to go" in line]
    assert len(told) == (1 if said else 0)
    if said:
        assert told[0].startswith(said)
        assert "200 epochs of 40 batches, 4.0 s each" in told[0]


@pytest.mark.parametrize("most, said", [(6, None), (305, "20 min"), (8000, "9 h"), (10_000, "9 h")])
def test_a_training_that_ends_by_its_steps_is_announced_by_them(
    log, monkeypatch, capsys, most, said
):
    log.most = most
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)
    log.start_epoch(0, 40)
    log.timer.add("data_wait", 0.0)
    for batch in range(1, 7):
        monkeypatch.setattr("time.perf_counter", lambda now=4.0 * batch: now)
        log.on_step(StepReport(LOSSES, 12, 1.0, 1e-3))
    told = [line for line in capsys.readouterr().out.splitlines() if "to go" in line]
    assert [line.partition(" to go")[0] for line in told] == ([f"about {said}"] if said else [])
    assert [f"{most} batches in all, 4.0 s" in line for line in told] == [most <= 8000] * len(told)


@pytest.mark.parametrize(
    "cleval, iou, warns", [(0.46, 0.0, True), (0.9, 0.7, False), (0, 0, False)]
)
def test_characters_covered_by_blobs_are_warned_of(log, capsys, cleval, iou, warns):
    log._begin(**NOTHING_YET)
    log.start_epoch(0, 1)
    figures = {f"val/cleval/{name}": cleval for name in ("precision", "recall", "hmean")}
    log.end_epoch(
        figures | {"val/iou/hmean": iou, "train/loss_total": 1.0, "train/images_per_second": 2.0}
    )
    assert ("WARNING: CLEval without IoU" in capsys.readouterr().out) == warns


@pytest.mark.parametrize("cleval, iou", [(0.9, 0.7), (0.46, 0.0)])
def test_epochs_stand_in_columns_under_one_header(log, capsys, cleval, iou):
    trained = {f"train/loss_{name}": 12.3456 for name in LOSSES} | {"train/images_per_second": 99.9}
    validated = {f"val/cleval/{name}": cleval for name in ("precision", "recall", "hmean")}
    for epoch, figures in enumerate((trained, trained | validated | {"val/iou/hmean": iou})):
        log.start_epoch(epoch, 1)
        log.end_epoch(figures)
    header, *rows = capsys.readouterr().out.splitlines()[:3]
    assert max(map(len, (header, *rows))) <= 80
    for title, figure in (
        ("epoch", "2/200"), ("loss", "12.346"), ("binary", "12.346"), ("img/s", "99.9"),
        ("CLEval P", f"{cleval:.4f}"), ("IoU H", f"{iou:.4f}"),
    ):  # fmt: skip
        assert rows[1][: header.index(title) + len(title)].endswith(f" {figure}")
