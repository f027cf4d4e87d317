"""Accumulation, stopping, frames and sums, on a model with results known by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from dbnet.data.collate import Collate
from dbnet.data.transforms import letterbox
from dbnet.errors import NonFiniteError
from dbnet.postprocess.frames import to_original
from dbnet.runtime.profiler import StageTimer
from dbnet.structures import DBOutputs, Detections, Sample, TargetMaps
from dbnet.training.engine import StepReport, evaluate, train_one_epoch
from dbnet.training.losses import DBLosses
from dbnet.training.predictions import one_ahead
from dbnet.training.scoring import score_batch, truth_of
from dbnet.training.state import TrainState

CPU = torch.device("cpu")


class Dot(nn.Module):
    """One weight; logit = weight x mean brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        x = images.float().mean(1, keepdim=True) / 255 * self.weight
        return DBOutputs(x, -x)


class Square(nn.Module):
    """Mean over images of (mean logit)^2, whose gradient is known."""

    def forward(self, outputs, batch):
        value = outputs.prob_logits.flatten(1).mean(1).square().mean()
        return DBLosses(value, value, value * 0, value * 0)


def batch_of(values: list[int], **changes):
    maps = TargetMaps(*(np.zeros((4, 4), np.float32) for _ in range(4)))
    samples = [
        Sample(
            np.full((4, 4, 3), value, np.uint8), [], np.zeros(0, bool), [], f"{value}.png",
            np.eye(3), [], (4, 4),
        )._replace(**changes)
        for value in values
    ]  # fmt: skip
    return Collate(target_maps=lambda *_: maps)(samples)


def state_of(model, lr=0.1, *, scales=False) -> TrainState:
    """A training by gradient descent with a constant rate."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    return TrainState(model, optimizer, schedule, torch.amp.GradScaler("cpu", enabled=scales), None)


def train(batches, *, accumulate, model=None, clip=0.0, lr=0.1):
    model = model or Dot()
    reports: list[StepReport] = []
    train_one_epoch(
        model, Square(), batches, state_of(model, lr),
        batch_sizes=[len(b.image_ids) for b in batches], device=CPU, dtype=None,
        accumulate=accumulate, grad_clip=clip, timer=StageTimer(synchronize=None),
        on_step=reports.append,
    )  # fmt: skip
    return model.weight.item(), reports


def expected_weight(groups: list[list[int]], lr: float = 0.1) -> float:
    weight = 2.0
    for group in groups:
        x = np.array(group) / 255
        weight -= lr * (2 * weight * x**2).mean()
    return weight


def test_accumulation_weighs_images_alike_in_partial_steps_too():
    batches = [batch_of([100, 200]), batch_of([50, 250]), batch_of([220])]
    weight, reports = train(batches, accumulate=2)
    assert weight == pytest.approx(expected_weight([[100, 200, 50, 250], [220]]), rel=1e-6)
    assert [report.grad_norm is not None for report in reports] == [False, True, True]

    uneven = [batch_of([100, 200]), batch_of([50])]
    weight, _ = train(uneven, accumulate=2)
    assert weight == pytest.approx(expected_weight([[100, 200, 50]]), rel=1e-6)


def test_clipping_limits_the_step_and_reports_the_full_norm():
    weight, (report,) = train([batch_of([255])], accumulate=1, clip=0.5)
    assert report.grad_norm == pytest.approx(4.0)
    assert weight == pytest.approx(2.0 - 0.1 * 0.5, rel=1e-4)


def test_a_loss_that_is_no_number_stops_with_parts_and_files():
    model = Dot()
    batches = [batch_of([100]), batch_of([7])]
    with torch.no_grad():
        model.weight.fill_(1e30)  # squared: infinite
    with pytest.raises(NonFiniteError, match=r"'total': inf.*100\.png"):
        train(batches, accumulate=1, model=model)
    assert model.weight.item() == pytest.approx(1e30)


class Count:
    """A metric that records its inputs."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.seen = []

    def update_batch(self, det_polygons, gt_polygons, ignored, texts, image_sizes):
        self.seen += zip(det_polygons, gt_polygons, strict=True)
        return [{"hmean": float(len(found))} for found in det_polygons]

    def compute(self):
        return {"hmean": float(self.images)}

    def state(self):
        return np.float64([len(self.seen)])

    def load_state(self, state):
        (self.images,) = state


def test_predictions_return_to_original_pixels_and_stay_inside():
    matrix = np.array([[0.5, 0, 3], [0, 0.5, -2], [0, 0, 1]])
    truth = [np.float32([[0, 0], [20, 0], [20, 10], [0, 10]])]
    batch = batch_of([9], matrix=matrix, orig_polygons=truth, orig_size=(30, 40))
    found = np.float32([[3, -2], [13, -2], [13, 3], [30, 3]])
    metric = Count()
    (result,), _ = score_batch(
        truth_of(batch),
        np.zeros((1, 4, 4), np.float32),
        lambda _: Detections([found], np.float32([0.9]), 0),
        {"count": metric},
        StageTimer(synchronize=None),
    )
    expected = [[0, 0], [20, 0], [20, 10], [39, 10]]  # 54 is beyond the image
    assert np.allclose(result.detections.polygons[0], expected, atol=1e-4)
    assert np.array_equal(metric.seen[0][1][0], truth[0])
    assert result.scores == {"count": {"hmean": 1.0}}


def test_a_detection_in_the_padding_is_dropped_with_its_score():
    size = (1000, 500)
    matrix = letterbox(size, 640)  # the image ends at x = 319
    box = np.float32([[0, 0], [60, 0], [60, 30], [0, 30]])
    found = list(box + np.float32([[[400, 100]], [[290, 100]], [[500, 100]], [[20, 200]]]))
    scores = np.float32([0.9, 0.8, 0.7, 0.6])
    kept = to_original(Detections(found, scores, 5), matrix, size)
    # x = (column + 1/2) / 0.64 - 1/2
    expected = [
        [[453.40625, 156.53125], [499, 156.53125], [499, 203.40625], [453.40625, 203.40625]],
        [
            [31.53125, 312.78125],
            [125.28125, 312.78125],
            [125.28125, 359.65625],
            [31.53125, 359.65625],
        ],
    ]
    assert np.allclose(kept.polygons, expected, atol=1e-4)
    assert kept.scores.tolist() == np.float32([0.8, 0.6]).tolist() and kept.capped == 5

    none = to_original(Detections(found[:1], scores[:1], 0), matrix, size)
    assert none.polygons == [] and none.scores.shape == (0,)
    empty = to_original(Detections([], scores[:0], 0), matrix, size)
    assert empty.polygons == [] and empty.scores.shape == (0,)


def test_evaluate_averages_losses_over_images_not_batches():
    batches = [batch_of([100, 200]), batch_of([50])]
    results = []
    figures = evaluate(
        Dot(), Square(), batches, lambda _: Detections([], np.zeros(0, np.float32), 2),
        {"count": Count()}, device=CPU, dtype=None, timer=StageTimer(synchronize=None),
        on_image=results.append,
    )  # fmt: skip
    x = 2 * np.array([100, 200, 50]) / 255
    assert figures["loss/total"] == pytest.approx((x**2).mean(), rel=1e-6)
    assert figures["images"] == 3 and figures["capped"] == 6 and figures["count/hmean"] == 3
    assert [result.image_id for result in results] == ["100.png", "200.png", "50.png"]


@pytest.mark.faults("nothing to validate")
def test_nothing_to_evaluate_is_an_error_and_not_a_zero():
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(
            Dot(), Square(), [], lambda _: None, {}, device=CPU, dtype=None,
            timer=StageTimer(synchronize=None),
        )  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 4])
def test_one_ahead_starts_the_next_before_it_gives_the_current(count):
    started = []

    def items():
        for number in range(count):
            started.append(number)
            yield number

    given = []
    for number in one_ahead(items()):
        assert len(started) == min(number + 2, count)
        given.append(number)
    assert given == list(range(count))


def test_stages_are_timed_batch_by_batch():
    timer = StageTimer(synchronize=None)
    evaluate(
        Dot(), Square(), [batch_of([1]), batch_of([2])],
        lambda _: Detections([], np.zeros(0, np.float32), 0), {},
        device=CPU, dtype=None, timer=timer,
    )  # fmt: skip
    stages = [
        "data_wait",
        "worker/targets",
        "copy",
        "forward",
        "loss",
        "download",
        "postprocess",
        "metric",
    ]
    assert {stage: len(values) for stage, values in timer.durations.items()} == dict.fromkeys(
        stages, 2
    )
    assert all(seconds >= 0 for seconds in timer.totals().values())
