"""All metrics: batches, inputs, and the cache of ground truths."""

import copy

import numpy as np
import pytest

from dbnet.metrics import CLEval, IoUMetric, content_cache
from dbnet.settings import CLEvalConfig, IoUConfig
from tests.published.cleval_scenes import box, scene

MAKERS = {
    "cleval": lambda: CLEval(CLEvalConfig(max_polygons=5)),
    "scale-wise": lambda: CLEval(CLEvalConfig(scale_wise=True)),
    "iou": lambda: IoUMetric(IoUConfig()),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


@pytest.fixture
def prepared(monkeypatch) -> list:
    """Grows by one with every ground truth that is prepared."""
    calls, get = [], content_cache.ContentCache.get

    def counting(cache, content, make, images):
        return get(cache, content, lambda: calls.append(images) or make(), images)

    monkeypatch.setattr(content_cache.ContentCache, "get", counting)
    return calls


def test_inputs_are_left_alone(make):
    inputs = scene(14)
    before = copy.deepcopy(inputs)
    make().update(*inputs, image_size=(100, 100))
    for now, then in zip(inputs[:3], before[:3], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(now, then, strict=True))


WRONG = {
    "detected polygon 0 has shape": ([[], [[]]], [[], []]),
    "ground truth polygons: 1, ignored flags: 0": ([[], []], [[], [box(0, 0, 9, 9)]]),
}


def test_a_batch_equals_its_images(make):
    scenes = [(*scene(seed), (300 + seed, 500)) for seed in range(60)]
    scenes += [([], [], [], None, (9, 9)), ([box(0, 0, 9, 9)] * 6, [], [], [], (9, 9))]
    one, many = make(), make()
    for first in range(0, len(scenes), 12):
        batch = scenes[first : first + 12]
        results = many.update_batch(*zip(*batch, strict=True))
        assert results == [one.update(*each) for each in batch]
    assert many.update_batch([], [], [], [], []) == []
    assert np.array_equal(many.state(), one.state())
    for message, (dets, gts) in WRONG.items():
        with pytest.raises(ValueError, match=message):
            many.update_batch(dets, gts, [[], []], [[], []], [(9, 9)] * 2)
        assert np.array_equal(many.state(), one.state())  # the first one was not added either


def test_ground_truth_is_prepared_once(make, prepared):
    score = make()
    first = [score.update(*scene(seed), (300, 500)) for seed in range(5)]
    score.reset()
    again = [score.update(*copy.deepcopy(scene(seed)), (300, 500)) for seed in range(5)]
    assert again == first and len(prepared) == 5


@pytest.mark.parametrize(("name", "versions"), [("scale-wise", 7), ("iou", 3)])
def test_cached_ground_truth_is_never_stale(prepared, name, versions):
    """`versions`: ground truths that are prepared. Those of IoU depend on the outlines alone."""
    score = MAKERS[name]()
    dets, gts, ignored, texts = scene(6)
    results = []

    def check(size=(300, 500)):
        results.append(score.update(dets, gts, ignored, texts, size))
        assert results[-1] == MAKERS[name]().update(dets, gts, ignored, texts, size)

    check()
    gts[0] += 30  # in place: the same objects, another content
    check()
    for text in (0, 1):
        ignored[text] = ~ignored[text]
        check()
    texts[1] += "more"
    check()
    gts[1], gts[2] = np.concatenate([gts[1], gts[2][:1]]), gts[2][1:]  # same bytes, split elsewhere
    check()
    check((300, 600))
    assert len(prepared) == versions + len(results)
    assert len({str(result) for result in results}) > 2


def test_the_cache_of_ground_truths_is_bounded(make, prepared, monkeypatch):
    monkeypatch.setattr(content_cache, "_MAX_IMAGES", 3)
    score = make()
    for _ in range(2):
        for seed in range(8, 13):
            score.update(*scene(seed), (300, 500))
    assert len(prepared) == 5 + 2
