"""Many lines of a few kinds are shortened; omitted lines are counted."""

from dbnet.runtime.message_list import kind_of, shortened


def twisted(place: str, number: int) -> str:
    return f"{place}, line {number}: begins with {number % 5} numbers, expected x1,y1: '{number}'"


def test_many_lines_of_a_kind_are_three_and_a_count():
    lines = [twisted(f"/data/gts/train/img_{n}.txt", n) for n in range(407)]
    assert shortened(lines) == [*lines[:3], "... and 404 more of this kind"]


def test_kinds_are_distinguished_and_in_order():
    missing = [f"/data/a.json: images[{n}]/id: is missing; must be an integer" for n in range(9)]
    broken = [f"/data/images/train/scan {n}.jpg: the file is empty (0 bytes)" for n in range(5)]
    mixed = [line for pair in zip(missing, broken, strict=False) for line in pair] + missing[5:]
    assert shortened(mixed) == [
        *missing[:3], "... and 6 more of this kind", *broken[:3], "... and 2 more of this kind",
    ]  # fmt: skip


def test_values_and_places_make_no_kind_of_their_own():
    kinds = {
        kind_of("/x/jsons/train.json: images/a.jpg/words/7/points: must be a list, found [[1, 2]]"),
        kind_of("/x/jsons/train.json: images/b 2.png/words/81/points: must be a list, found null"),
    }
    assert len(kinds) == 1


def test_a_single_line_more_is_shown_itself():
    lines = [f"/data/{n}.png: not an image, or of an unknown type" for n in range(4)]
    assert shortened(lines) == lines
    assert shortened([]) == []


def test_many_kinds_are_counted_too():
    words = ["".join(chr(97 + int(digit)) for digit in f"{n:03}") for n in range(100)]
    lines = [f"wrong {word}" for word in words]
    assert shortened(lines) == [*lines[:30], "... and 70 more of 70 other kinds"]


def test_blanks_in_names_make_no_new_kind():
    names = ["lidl", "my lidl", "aldi one two", "a b c d", "one more"]
    lines = [f"data/images/{name}.jpg: images/{name}.jpg/words: must be a list" for name in names]
    assert shortened(lines) == [*lines[:3], "... and 2 more of this kind"]


def test_a_message_that_mentions_a_folder_keeps_its_words():
    lines = ["data/set: put images/train there", "data/set: remove images/train"]
    assert kind_of(lines[0]) != kind_of(lines[1])
