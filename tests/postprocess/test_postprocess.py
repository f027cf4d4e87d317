import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.oracle import best_iou, draw_texts, kernel_map
from dbnet import geometry
from dbnet.postprocess import regions
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.reference import postprocess as reference
from dbnet.reference.targets import shrink_distance
from dbnet.settings import PostprocessConfig
from dbnet.structures import Detections

SETTINGS = {
    "bin_thresh": 0.2,
    "box_thresh": 0.3,
    "max_candidates": 300,
    "unclip_ratio": None,
    "use_polygon": False,
    "min_size": 3.0,
}
SHRINK_RATIO = 0.4
MODES = pytest.mark.parametrize("use_polygon", [False, True], ids=["box", "polygon"])
UNCLIP = pytest.mark.parametrize("unclip_ratio", [None, 1.5], ids=["exact", "classic"])


def detect(prob_map: np.ndarray, shrink_ratio: float = SHRINK_RATIO, **changes) -> Detections:
    cfg = PostprocessConfig(**SETTINGS | changes)
    return DBPostprocessor(cfg, shrink_ratio=shrink_ratio)(prob_map)


def page(*kernels: tuple[int, int, int, int, float], size: int = 100) -> np.ndarray:
    """Kernels x, y, width, height in pixels, probability."""
    prob_map = np.zeros((size, size), np.float32)
    for x, y, width, height, prob in kernels:
        prob_map[y : y + height, x : x + width] = prob
    return prob_map


def texture(seed: int, size: int = 160, smooth: float = 2.0) -> np.ndarray:
    """Blobs of all shapes, with holes and islands, 0..1."""
    noise = np.random.default_rng(seed).random((size, size), dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), smooth)
    return cv2.normalize(noise, None, 0, 1, cv2.NORM_MINMAX).clip(0, 1)


@MODES
def test_a_kernel_comes_back_as_its_text(use_polygon):
    # A text of 60 x 20 shrinks by D = 1200 * 0.84 / 160 = 6.3, to 47.4 x 7.4 between the outer
    # pixels' centres; this kernel of 47 x 7 comes from one of 58.55 x 18.55.
    found = detect(page((20, 40, 48, 8, 1.0)), use_polygon=use_polygon)
    (text,) = found.polygons
    c, w, h = 0.84, 47, 7
    b = 2 * (1 - c) * (w + h)
    distance = (np.sqrt(b**2 + 4 * (8 - 4 * c) * c * w * h) - b) / (2 * (8 - 4 * c))
    low, high = np.array([20, 40]) - distance, np.array([67, 47]) + distance
    np.testing.assert_allclose(text.min(axis=0), low, atol=1e-4)
    np.testing.assert_allclose(text.max(axis=0), high, atol=1e-4)
    width, height = high - low
    assert width * height * c / (2 * (width + height)) == pytest.approx(distance)
    assert found.scores == pytest.approx([1.0])


@MODES
def test_unclip_ratio_gives_the_classic_offset(use_polygon):
    (text,) = detect(page((20, 40, 48, 8, 1.0)), use_polygon=use_polygon, unclip_ratio=2.0).polygons
    distance = 2 * 47 * 7 / 108
    np.testing.assert_allclose(text.min(axis=0), np.array([20, 40]) - distance, atol=1e-4)
    np.testing.assert_allclose(text.max(axis=0), np.array([67, 47]) + distance, atol=1e-4)


def test_boxes_start_at_the_top_left_and_run_clockwise_on_screen():
    tilted = np.zeros((100, 100), np.float32)
    corners = cv2.boxPoints(((50, 50), (50, 10), 20)).round().astype(np.int32)
    cv2.fillPoly(tilted, [corners], 1.0)
    (quad,) = detect(tilted).polygons
    assert quad.shape == (4, 2)
    assert quad.dtype == np.float32
    assert quad.sum(axis=1).argmin() == 0
    edges = np.roll(quad, -1, axis=0) - quad
    turns = edges[:, 0] * np.roll(edges, -1, axis=0)[:, 1]
    turns -= edges[:, 1] * np.roll(edges, -1, axis=0)[:, 0]
    assert (turns > 0).all()


@MODES
def test_pixel_steps_do_not_thicken_slanted_texts(use_polygon):
    rng = np.random.default_rng(0)
    thickness = []
    for degrees in rng.uniform(2, 88, 60):
        text = cv2.boxPoints((tuple(rng.uniform(149, 151, 2)), (200, 14), degrees))
        (kernel,) = geometry.offset(text, -shrink_distance(text, 0.4))
        prob_map = np.zeros((300, 300), np.float32)
        cv2.fillPoly(prob_map, [kernel.round().astype(np.int32)], 1.0)
        (found,) = detect(prob_map, use_polygon=use_polygon).polygons
        thickness.append(geometry.area(found) / max(cv2.minAreaRect(found)[1]))
    # Kernels are 2.9 pixels thick; steps would add most of a pixel, which is 4 of the text.
    assert np.mean(thickness) == pytest.approx(14, abs=0.3)
    assert np.std(thickness) < 1.5


@MODES
def test_scores_are_mean_probabilities_of_the_region_s_pixels(use_polygon):
    prob_map = page((10, 10, 40, 8, 0.6), (10, 50, 30, 10, 0.9))
    prob_map[12:16, 10:50] = 1.0
    prob_map[54:56, 20:30] = 0.1  # a hole
    found = detect(prob_map, use_polygon=use_polygon)
    assert found.scores == pytest.approx([0.9, 0.8])
    assert found.scores.dtype == np.float32
    centres = [polygon.mean(axis=0)[1] for polygon in found.polygons]
    assert centres == pytest.approx([54.5, 13.5], abs=1e-3)


def test_holes_do_not_change_the_outline():
    whole, holed = page((10, 50, 30, 10, 0.9)), page((10, 50, 30, 10, 0.9))
    holed[53:57, 15:35] = 0.0
    assert np.array_equal(detect(whole).polygons[0], detect(holed).polygons[0])


def test_text_inside_a_frame_is_found():
    frame = page((5, 5, 90, 90, 0.8), (9, 9, 82, 82, 0.0), (30, 45, 40, 8, 0.9))
    assert detect(frame).scores == pytest.approx([0.9, 0.8])


@pytest.mark.parametrize(("prob", "count"), [(0.29, 0), (0.31, 1)])
def test_box_thresh_removes_low_scores(prob, count):
    assert len(detect(page((20, 40, 48, 8, prob))).polygons) == count


def test_bin_thresh_is_exclusive():
    half = page((20, 40, 48, 8, 0.5))
    assert len(detect(half, bin_thresh=0.5).polygons) == 0
    assert len(detect(half, bin_thresh=0.49).polygons) == 1


@MODES
def test_min_size_is_about_the_text_and_not_the_kernel(use_polygon):
    thin = page((20, 40, 48, 3, 1.0))  # 2 pixels between centres
    height = float(np.ptp(detect(thin).polygons[0][:, 1]))
    assert 5 < height < 12.5
    assert len(detect(thin, use_polygon=use_polygon, min_size=height - 0.01).polygons) == 1
    assert len(detect(thin, use_polygon=use_polygon, min_size=height + 0.01).polygons) == 0


def test_one_pixel_thick_regions_are_dropped():
    diagonal = np.eye(50, dtype=np.float32)
    assert detect(diagonal, min_size=0.0) == Detections([], pytest.approx([]), 0)
    assert detect(page((10, 10, 40, 1, 1.0)), min_size=0.0).polygons == []


@MODES
def test_max_candidates_keeps_the_highest_scores(use_polygon):
    probs = [0.5, 0.9, 0.4, 0.8, 0.7]
    prob_map = page(*[(10, 5 + 18 * i, 60, 8, prob) for i, prob in enumerate(probs)])
    prob_map[98:, 98:] = 1.0  # a speck is no candidate
    found = detect(prob_map, use_polygon=use_polygon, max_candidates=3)
    assert found.scores == pytest.approx([0.9, 0.8, 0.7])
    assert found.capped == 2
    assert detect(prob_map, use_polygon=use_polygon, max_candidates=5).capped == 0


@pytest.mark.parametrize("bin_thresh", [0.15, 0.2, 0.3, 0.4])
def test_soft_edges_do_not_thicken_texts(bin_thresh):
    hard = page((40, 50, 120, 9, 1.0), size=200)
    soft = cv2.GaussianBlur(hard, (0, 0), 1.0)
    (expected,) = detect(hard).polygons
    (found,) = detect(soft, bin_thresh=bin_thresh).polygons
    pixels = cv2.boundingRect((soft > bin_thresh).astype(np.uint8))[3]
    if bin_thresh < 0.3:
        assert pixels == 11  # rows that a plain contour would take for the kernel's
    assert np.ptp(found[:, 1]) == pytest.approx(np.ptp(expected[:, 1]), abs=1.5)


def test_outlines_never_move_inwards():
    soft = cv2.GaussianBlur(page((20, 40, 48, 12, 1.0)), (0, 0), 2.0)
    (found,) = detect(soft, shrink_ratio=0.99).polygons  # offsets next to nothing
    columns = np.flatnonzero((soft > 0.2).any(axis=0))
    assert (found[:, 0].min(), found[:, 0].max()) == (columns[0], columns[-1])


@MODES
def test_texts_are_cut_at_the_border(use_polygon):
    found = detect(page((0, 0, 50, 6, 1.0), (60, 92, 40, 8, 1.0)), use_polygon=use_polygon)
    first, second = sorted(found.polygons, key=lambda polygon: polygon[0, 1])
    assert first.min() == 0
    assert second.max() == 99


@MODES
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (7, 1), (40, 60)])
def test_blank_maps_give_no_detections(use_polygon, height, width):
    found = detect(np.zeros((height, width), np.float32), use_polygon=use_polygon)
    assert found.polygons == []
    assert found.scores.shape == (0,)
    assert found.scores.dtype == np.float32
    assert found.capped == 0


@MODES
def test_a_white_map_is_one_text(use_polygon):
    (text,) = detect(np.ones((40, 60), np.float32), use_polygon=use_polygon).polygons
    assert {tuple(p) for p in text} == {(0, 0), (59, 0), (59, 39), (0, 39)}


def test_negative_zeros_are_probabilities():
    prob_map = page((10, 10, 40, 8, 0.9))
    expected = detect(prob_map)
    prob_map[prob_map == 0] = -0.0
    assert len(expected.polygons) == 1
    assert np.array_equal(detect(prob_map).polygons, expected.polygons)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.01, 1.01])
def test_what_is_no_probability_is_refused(value):
    prob_map = page((20, 40, 48, 8, 1.0))
    prob_map[3, 3] = value
    with pytest.raises(ValueError, match="sigmoid"):
        detect(prob_map)


@pytest.mark.parametrize(
    "prob_map", [np.zeros((1, 8, 8), np.float32), np.zeros((8, 8)), np.zeros((0, 8), np.float32)]
)
def test_what_is_no_map_is_refused(prob_map):
    with pytest.raises(ValueError, match=r"need float32 \(H, W\)"):
        detect(prob_map)


@MODES
def test_layout_of_the_map_does_not_matter_and_it_stays_as_it_is(use_polygon):
    prob_map = texture(0)
    prob_map.flags.writeable = False
    expected = detect(prob_map, use_polygon=use_polygon)
    for other in (np.asfortranarray(prob_map), np.repeat(prob_map, 2, axis=1)[:, ::2]):
        found = detect(other, use_polygon=use_polygon)
        assert reference.difference(found, expected) == (0, 0)


@MODES
@UNCLIP
@pytest.mark.parametrize("seed", range(8))
def test_detections_equal_those_of_the_reference(seed, use_polygon, unclip_ratio):
    changes = SETTINGS | {
        "bin_thresh": [0.2, 0.4, 0.5, 0.6][seed % 4],
        "use_polygon": use_polygon,
        "unclip_ratio": unclip_ratio,
        "max_candidates": 25,
    }
    prob_map = texture(seed, smooth=[1.0, 2.0, 3.0][seed % 3])
    ours = detect(prob_map, **changes)
    theirs = reference.postprocess(prob_map, **changes, shrink_ratio=SHRINK_RATIO)
    assert len(theirs.polygons) >= 1
    corners, scores = reference.difference(ours, theirs)
    assert corners < 1e-3
    assert scores < 1e-6


@pytest.mark.parametrize(
    "prob_map",
    [texture(1, size=320), np.ones((3, 40_000), np.float32), np.ones((1, 1 << 15), np.float32)],
    ids=["blobs", "wide", "one block"],
)
def test_blocks_of_pixels_do_not_change_the_result(monkeypatch, prob_map):
    monkeypatch.setattr(regions, "_BLOCK", 1 << 30)
    whole = regions.find_regions(prob_map, 0.2)
    for size in (1, 100, 1 << 15):
        monkeypatch.setattr(regions, "_BLOCK", size)
        for name, values in regions.find_regions(prob_map, 0.2)._asdict().items():
            assert np.allclose(values, getattr(whole, name), rtol=1e-12), name


TANGLED = [  # simplified, its outline crosses itself twice
    [0.0, 0.0, 0.0, 0.1, 0.0, 0.1, 0.0, 0.10, 0.10, 0.10],
    [0.0, 0.0, 0.0, 0.1, 0.1, 0.0, 0.1, 0.95, 0.95, 0.95],
]


@pytest.mark.faults("fuzzed probability maps")
@settings(max_examples=150)
@example(np.array(TANGLED, np.float32), 0.0, None, True, 1)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24),
        elements=st.sampled_from([0.0, 0.1, 0.25, 0.45, 0.7, 0.95, 1.0]).map(np.float32),
        fill=st.nothing(),
    ),
    st.sampled_from([0.0, 0.2, 0.5]),
    st.sampled_from([None, 0.0, 1.5]),
    st.booleans(),
    st.integers(1, 4),
)
def test_any_map_gives_valid_detections(
    prob_map, bin_thresh, unclip_ratio, use_polygon, max_candidates
):
    changes = SETTINGS | {
        "bin_thresh": bin_thresh,
        "unclip_ratio": unclip_ratio,
        "use_polygon": use_polygon,
        "max_candidates": max_candidates,
        # No sum of these probabilities and no side of whole pixels lies on the edge of these.
        "box_thresh": 0.3137,
        "min_size": 1.0137,
    }
    found = detect(prob_map, **changes)
    height, width = prob_map.shape
    assert len(found.polygons) == len(found.scores) <= max_candidates
    assert found.capped == 0 or len(found.polygons) == max_candidates
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.scores > 0.3137) & (found.scores <= 1)).all()
    for polygon in found.polygons:
        assert polygon.dtype == np.float32
        assert polygon.shape[0] >= 3
        assert polygon.shape[1] == 2
        assert (polygon >= 0).all()
        assert (polygon <= [width - 1, height - 1]).all()
        assert geometry.area(polygon) > 0
    # Equal scores may come in either order: a cut between them is no difference worth a test.
    if found.capped == 0:
        try:
            expected = reference.postprocess(prob_map, **changes, shrink_ratio=SHRINK_RATIO)
        except reference.Tie:
            return
        corners, scores = reference.difference(found, expected)
        assert corners < 1e-3
        assert scores < 1e-6


def soft_and_noisy(kernels: np.ndarray, seed: int, noise: float = 0.08) -> np.ndarray:
    """Kernels as in the map of a network: soft edges and uneven values."""
    rng = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(kernels, (0, 0), 1.0) * 0.95
    return (soft + noise * cv2.GaussianBlur(rng.normal(0, 1, soft.shape), (0, 0), 0.7)).clip(0, 1)


@UNCLIP
@pytest.mark.parametrize("kind", ["curved lines", "rotated words"])
def test_bent_outlines_equal_the_reference(kind, unclip_ratio):
    rng = np.random.default_rng(3)
    changes = SETTINGS | {"use_polygon": True, "unclip_ratio": unclip_ratio}
    corners = []
    for seed in range(3):
        kernels = kernel_map(draw_texts(kind, 300, rng)[:12], 300)
        cv2.line(kernels, (150, 20), (150, 280), 0.5, 2)  # some texts run together
        prob_map = soft_and_noisy(kernels, seed).astype(np.float32)
        found = detect(prob_map, **changes)
        expected = reference.postprocess(prob_map, **changes, shrink_ratio=0.4)
        largest, scores = reference.difference(found, expected)
        assert largest < 1e-3
        assert scores < 1e-6
        corners += map(len, found.polygons)
    assert max(corners) > 4


@pytest.mark.parametrize("degrees", [0, 3, 27, 45, 80])
def test_a_straight_text_with_teeth_and_horns_is_a_rectangle(degrees):
    kernel = np.zeros((300, 300), np.float32)
    kernel[148:153, 60:240] = 1.0
    clean = kernel.copy()
    kernel[143:148, 75:77] = kernel[153:156, 110:113] = kernel[145:148, 200:202] = 0.9  # teeth
    kernel[153:158, 60:62] = 0.7  # a horn
    turn = cv2.getRotationMatrix2D((149.5, 150), degrees, 1)
    with_teeth, without = (
        detect(cv2.warpAffine(each, turn, (300, 300)), use_polygon=True).polygons[0]
        for each in (kernel, clean)
    )
    assert with_teeth.shape == without.shape == (4, 2)
    sides = np.linalg.norm(np.roll(with_teeth, -1, axis=0) - with_teeth, axis=1)
    expected = np.linalg.norm(np.roll(without, -1, axis=0) - without, axis=1)
    assert np.sort(sides) == pytest.approx(np.sort(expected), abs=2.5)
    assert np.abs(with_teeth - without).max() < 3


@pytest.mark.parametrize("bend", [0.5, 1.2, 2.0])
def test_a_curved_text_keeps_its_curve(bend):
    at = np.linspace(-bend / 2, bend / 2, 40)
    ray = np.stack([np.sin(at), -np.cos(at)], axis=1)
    radius = 220 / bend
    text = np.vstack([ray * (radius + 10), ray[::-1] * (radius - 10)]).astype(np.float32)
    text += np.float32([200, 200]) - text.mean(axis=0)
    prob_map = soft_and_noisy(kernel_map([text], 400), 0, noise=0.02).astype(np.float32)
    (outline,) = detect(prob_map, use_polygon=True).polygons
    assert 8 <= len(outline) <= 16
    assert best_iou([text], [outline])[0] > 0.85
    (box,) = detect(prob_map).polygons
    assert box.shape == (4, 2)


def test_a_single_figure_stands_upright_on_an_upright_page():
    prob_map = page((10, 20, 70, 5, 1.0), (10, 60, 70, 5, 1.0))
    figure = np.float32([[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0], [0, 1, 1, 0]])
    prob_map[80:85, 40:44] = figure
    quad = min(detect(prob_map).polygons, key=geometry.area)
    assert np.abs(np.roll(quad, -1, axis=0) - quad).min(axis=1).max() < 1e-3


def test_a_single_figure_leans_as_its_page_does():
    lines = [((150, 60), (200, 6), 12), ((150, 220), (200, 6), 12)]
    prob_map = np.zeros((300, 300), np.float32)
    for line in lines:
        cv2.fillPoly(prob_map, [cv2.boxPoints(line).round().astype(np.int32)], 1.0)
    cv2.circle(prob_map, (150, 140), 4, 1.0, cv2.FILLED)
    quad = min(detect(prob_map).polygons, key=geometry.area)
    edge = quad[1] - quad[0]
    assert np.degrees(np.arctan2(edge[1], edge[0])) % 90 == pytest.approx(12, abs=1)


def test_texts_of_an_unsure_network_are_as_high():
    sure, unsure = page((20, 40, 48, 8, 0.9)), page((20, 40, 48, 8, 0.45))
    assert np.array_equal(detect(sure).polygons[0], detect(unsure).polygons[0])


def test_lines_that_ran_together_keep_their_outline():
    prob_map = page((10, 20, 80, 5, 0.9), (10, 50, 40, 5, 0.9), (30, 25, 3, 25, 0.9))
    (outline,) = detect(prob_map, use_polygon=True).polygons
    assert len(outline) > 4
    (box,) = detect(prob_map).polygons
    assert geometry.area(outline) < 0.9 * geometry.area(box)
