"""Kinds of errors, on rectangles."""

import numpy as np

from dbnet.evaluation.errors import count_errors, find_errors


def rect(x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float32)


LINES = [rect(10, 10, 100, 20), rect(10, 40, 100, 20), rect(10, 70, 100, 20)]
LEGIBLE = np.zeros(3, bool)


def kinds(found, truth=LINES, ignored=LEGIBLE) -> dict[str, int]:
    counts = count_errors(find_errors(found, truth, ignored))
    return {kind: count for kind, count in counts.items() if count}


def test_exact_detections_have_no_errors():
    assert kinds(LINES) == {}


def test_a_text_without_a_detection_is_missed():
    assert kinds(LINES[:2]) == {"missed": 1}
    assert kinds([]) == {"missed": 3}


def test_a_detection_on_paper_is_false():
    errors = find_errors([*LINES, rect(200, 10, 50, 20)], LINES, LEGIBLE)
    assert [(error.kind, error.found) for error in errors] == [("false", [3])]


def test_two_halves_of_a_text_are_a_split():
    halves = [rect(10, 10, 48, 20), rect(62, 10, 48, 20)]
    errors = find_errors([*halves, *LINES[1:]], LINES, LEGIBLE)
    assert [(e.kind, e.truth, e.found) for e in errors] == [("split", [0], [0, 1])]


def test_one_detection_over_two_lines_is_a_merge():
    errors = find_errors([rect(10, 10, 100, 50), LINES[2]], LINES, LEGIBLE)
    assert [(e.kind, e.truth, e.found) for e in errors] == [("merged", [0, 1], [0])]


def test_a_half_covered_text_is_inexact():
    assert kinds([rect(10, 10, 45, 20), *LINES[1:]]) == {"inexact": 1}


def test_ignored_regions_cause_no_errors():
    ignored = np.array([True, False, False])
    assert kinds(LINES[1:], ignored=ignored) == {}
    assert kinds([*LINES[1:], rect(20, 12, 30, 10)], ignored=ignored) == {}


def test_an_outline_that_crosses_itself_is_taken():
    bow = np.array([[10, 10], [110, 30], [110, 10], [10, 30]], np.float32)
    assert kinds([bow, *LINES[1:]]).keys() <= {"inexact", "missed"}


def test_an_image_without_texts_has_false_detections_only():
    assert kinds(LINES, [], np.zeros(0, bool)) == {"false": 3}
    assert kinds([], [], np.zeros(0, bool)) == {}
