"""Pictures of results: colours, outlines, crops and labels."""

import numpy as np
import torch

from dbnet.reporting.pictures import FOUND, IGNORED, TRUE, draw_predictions, draw_result
from dbnet.structures import Batch, Detections

SQUARE = np.float32([[10, 10], [30, 10], [30, 30], [10, 30]])


def shifted(x, y):
    return SQUARE + np.float32([x, y])


def test_truth_is_a_tint_and_a_detection_is_a_line():
    image = np.full((60, 100, 3), 200, np.uint8)
    truth = [SQUARE, shifted(40, 0)]
    drawn = draw_result(image, [shifted(0, 25)], truth, np.array([False, True]))
    assert (image == 200).all()
    for place, color in (((20, 20), TRUE), ((20, 60), IGNORED)):
        expected = 0.6 * 200 + 0.4 * np.array(color)
        assert np.abs(drawn[place] - expected).max() <= 1
    assert np.abs(drawn[35, 20].astype(int) - FOUND).max() <= 40, "its upper side"
    assert (drawn[45, 20] == 200).all(), "not tinted"


def one_image(content_height, content_width, side=64):
    """A letterboxed batch of one white image on black padding, at half its size."""
    image = torch.zeros((1, 3, side, side), dtype=torch.uint8)
    image[:, :, :content_height, :content_width] = 255
    empty = torch.zeros((1, 1, side, side), dtype=torch.uint8)
    return Batch(
        images=image,
        shrink_map=empty,
        shrink_mask=empty,
        thresh_map=empty.float(),
        thresh_mask=empty,
        polygons=[[]],
        orig_polygons=[[]],
        ignored=[np.zeros(0, bool)],
        texts=[[]],
        image_ids=["a.png"],
        matrices=np.diag([0.5, 0.5, 1.0])[None],
        orig_sizes=[(2 * content_height, 2 * content_width)],
        seconds={},
    )


def test_padding_is_cut_off_and_a_legend_is_on_top():
    nothing = Detections([], np.zeros(0, np.float32), 0)
    maps = np.zeros((1, 1, 64, 64), np.float32)
    picture = draw_predictions(one_image(64, 32), maps, [nothing])
    legend, body = picture[:36], picture[36:]
    assert body.shape == (600 + 10 + 600, 300, 3), "picture, gap, probability map"
    assert (body[:600] == 255).all(), "no black border"
    assert (legend != 255).any()
