"""TensorBoard output of a training: curves, pictures of low recall, the HParams page."""

import json

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from configs import Config
from dbnet.reporting.pictures import FOUND, TRUE
from dbnet.section import flat, to_dict
from dbnet.structures import Detections, ImageResult, Record
from dbnet.training.board import tag
from dbnet.training.engine import StepReport
from dbnet.training.logger import HPARAM_FIRST, HPARAM_METRICS, RunLogger
from dbnet.training.low_recall import LowRecall, draw_low_recall

SQUARE = np.float32([[100, 200], [500, 200], [500, 400], [100, 400]])


def result(name: str, recall: float, texts: int = 3) -> ImageResult:
    figures = {"recall": recall, "precision": 0.5, "hmean": 0.25}
    scores = {"cleval": figures | {"num_char_gt": texts}, "iou": figures}
    found = Detections([SQUARE + np.float32([600, 0])], np.float32([0.9]), 0)
    return ImageResult(name, found, scores, (100, 100))


def events_of(folder) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_images_of_the_lowest_recall_are_collected():
    low = LowRecall(threshold=0.4, most=2)
    for name, recall in (("a", 0.3), ("b", 0.4), ("c", 0.1), ("d", 0.1), ("e", 0.9)):
        low.add(result(name, recall))
    assert [each.image_id for each in low.of_all_ranks()] == ["c", "d"]
    assert low.of_all_ranks() == [], "each validation starts anew"


def test_images_without_text_have_no_recall():
    low = LowRecall(threshold=1.0, most=2)
    low.add(result("empty", 0.0, texts=0))
    assert low.of_all_ranks() == []


def test_no_images_are_collected_if_the_limit_is_0():
    low = LowRecall(threshold=1.0, most=0)
    low.add(result("a", 0.0))
    assert low.of_all_ranks() == []


def test_a_picture_has_true_and_found_polygons_below_its_figures(tmp_path):
    path = tmp_path / "page.png"
    cv2.imwrite(str(path), np.full((1920, 1200, 3), 255, np.uint8))
    record = Record(str(path), "page", [SQUARE], np.array([False]), [""])
    (picture,) = draw_low_recall([result("page", 0.25)], [record])
    caption = picture.shape[0] - 960  # the page at half its size
    assert picture.shape[1] == 600 and caption > 60
    assert (picture[:caption] < 128).any(), "there are letters"
    page = picture[caption:]
    for color, x in ((TRUE, 150), (FOUND, 450)):
        edge = page[95:106, x].astype(int)  # of the upper edge, y = 100
        assert (edge.min(axis=0).argmax(), edge[0].tolist()) == (np.argmax(color), [255] * 3)


def test_pictures_stand_in_one_group(tmp_path):
    log = RunLogger(folder=tmp_path, epochs=1, epoch=0, step=7, running=None)
    log.pictures("low_recall", [np.zeros((20, 30, 3), np.uint8), np.zeros((5, 6, 3), np.uint8)])
    log.close()
    events = events_of(tmp_path)
    assert events.Tags()["images"] == ["low_recall/01", "low_recall/02"]
    (first,) = events.Images("low_recall/01")
    assert (first.step, first.width, first.height) == (7, 30, 20)
    pixels = cv2.imdecode(np.frombuffer(first.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (20, 30, 3)


@pytest.mark.parametrize(("every", "steps"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4]), (9, [])])
def test_curves_have_a_point_every_so_many_batches(tmp_path, every, steps):
    log = RunLogger(folder=tmp_path, epochs=1, epoch=0, step=0, running=None, log_every=every)
    log.start_epoch(0, 5)
    names = ("total", "prob", "thresh", "binary")
    log.timer.add("data_wait", 0.1)
    for _ in range(5):
        log.on_step(StepReport(dict.fromkeys(names, 1.0), 2, 0.5, 1e-3))
    log.end_epoch(log.end_training())
    log.close()
    events = events_of(tmp_path)
    found = events.Tags()["scalars"]
    told = [e.step for e in events.Scalars(tag("train/lr"))] if tag("train/lr") in found else []
    assert told == steps
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line["train/loss_total"] == 1.0, "means are of all batches"


def test_compared_settings_come_first_on_the_hparams_page(tmp_path):
    log = RunLogger(folder=tmp_path, epochs=1, epoch=0, step=0, running=None)
    log.hyper_parameters(flat(to_dict(Config())))
    log.close()
    data = MultiplexerDataProvider(EventMultiplexer().AddRunsFromDirectory(str(tmp_path)), "")
    data._multiplexer.Reload()
    context = Context(TBContext(data_provider=data))
    request = RequestContext()
    page = context.experiment_from_metadata(
        request, "", True, context.hparams_metadata(request, ""), []
    )
    names = [info.name for info in page.hparam_infos]
    assert names[: len(HPARAM_FIRST)] == sorted(HPARAM_FIRST)
    assert len(names) > 50, "the others can be chosen"


def test_settings_and_metrics_are_on_the_hparams_page(tmp_path):
    log = RunLogger(folder=tmp_path, epochs=1, epoch=0, step=0, running=None)
    log.hyper_parameters({"optim.lr": 1.0, "model.encoder": "of the first start"})
    log.close()
    log = RunLogger(folder=tmp_path, epochs=1, epoch=0, step=5, running=None)
    log.hyper_parameters({"optim.lr": 1e-3, "model.encoder": "resnet18", "data.root": None})
    log.close()
    assert len(list(tmp_path.glob("*tfevents*"))) == 3, "one of each start, one of the row"
    contents = events_of(tmp_path).PluginTagToContent("hparams")
    start, experiment = (
        HParamsPluginData.FromString(contents[f"_hparams_/{tag}"])
        for tag in ("session_start_info", "experiment")
    )
    values = start.session_start_info.hparams
    assert values["optim.lr"].number_value == 1e-3
    assert values["model.encoder"].string_value == "resnet18"
    assert values["data.root"].string_value == "None"
    names = [info.name.tag for info in experiment.experiment.metric_infos]
    assert sorted(names) == sorted(map(tag, HPARAM_METRICS))
