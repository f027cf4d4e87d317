"""Packed records equal the given ones, and processes share them."""

import gc
import multiprocessing
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbnet.data.storage.array_file import map_arrays, write_arrays
from dbnet.data.storage.records import Records, join, map_records, pack
from dbnet.structures import Record

FOLDER = Path("images/train")


def record_of(name: str, words: list[tuple[np.ndarray, bool, str]]) -> Record:
    return Record(
        image_path=str(FOLDER / name),
        image_id=name,
        polygons=[np.float32(points).reshape(-1, 2) for points, _, _ in words],
        ignored=np.array([ignored for _, ignored, _ in words], bool),
        texts=[text for _, _, text in words],
    )


def packed(records: list[Record]) -> Records:
    return Records(folder=FOLDER, arrays=pack(records), file=None)


def assert_same(ours, expected) -> None:
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected, strict=True):
        assert type(one) is Record
        assert (one.image_path, one.image_id) == (other.image_path, other.image_id)
        assert one.texts == other.texts and one.ignored.dtype == bool
        np.testing.assert_array_equal(one.ignored, other.ignored)
        assert len(one.polygons) == len(other.polygons)
        for a, b in zip(one.polygons, other.polygons, strict=True):
            assert a.dtype == np.float32 and a.shape == b.shape
            np.testing.assert_array_equal(a, b)


QUAD = [[10.1, 5], [40, 6], [40, 15.7], [10, 14]]
LONG = np.random.default_rng(0).normal(0, 1e4, (40_000, 2))
UNUSUAL = [
    record_of("a.jpg", [(QUAD, False, "TOTAL"), (QUAD[:3], True, "")]),
    record_of("empty.jpg", []),
    record_of("가/영수증 é.jpg", [(LONG, True, "합계 1,000"), (LONG[:300], False, "")]),
    record_of("broken \udcff \ud800.jpg", [(QUAD, False, "\0 \udc80 \ud83d\ude00 \n 😀 ÿ")]),
    record_of("last.jpg", [(np.float32([[-1e30, 1e-30], [0.1, -0.0], [3, 4]]), True, " ")]),
]

coordinates = st.floats(width=32, allow_nan=False)
words = st.tuples(
    st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=140),
    st.booleans(),
    st.text(st.characters(exclude_categories=())),
)
names = st.text(st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1)


def test_unusual_records_come_back_as_they_were():
    assert_same(packed(UNUSUAL), UNUSUAL)
    assert_same(packed(UNUSUAL[1:2]), UNUSUAL[1:2])
    assert_same(packed([]), [])


@settings(max_examples=40)
@given(st.lists(st.builds(record_of, names, st.lists(words, max_size=3)), max_size=4))
def test_any_record_comes_back_as_it_was(records):
    records = [r._replace(image_path=f"{FOLDER}/{r.image_id}") for r in records]
    assert_same(packed(records), records)


def test_records_are_a_sequence():
    records = packed(UNUSUAL)
    assert_same(records[1:4], UNUSUAL[1:4])
    assert_same([records[-1], *reversed(records)], [UNUSUAL[-1], *UNUSUAL[::-1]])
    assert records.image_ids() == [record.image_id for record in UNUSUAL]
    for outside in (5, -6):
        with pytest.raises(IndexError):
            records[outside]


def test_parts_join_in_any_order():
    parts = [pack(UNUSUAL[:2]), pack([]), pack(UNUSUAL[2:])]
    for order in ([0, 1, 2, 3, 4], [4, 1, 3, 0, 2], [2, 1], []):
        joined = Records(folder=FOLDER, arrays=join(parts, order), file=None)
        assert_same(joined, [UNUSUAL[i] for i in order])


def test_records_are_read_only():
    record = packed(UNUSUAL)[0]
    with pytest.raises(ValueError, match="read-only"):
        record.polygons[0][0] = 0


def test_fifty_quads_take_less_than_two_kilobytes():
    rng = np.random.default_rng(0)
    alphabet = np.array(list("ABCDEFGHIJ 0123456789.,"))
    receipts = [
        record_of(
            f"receipt_{i:07d}.jpg",
            [
                (rng.uniform(0, 1400, (4, 2)), False, "".join(rng.choice(alphabet, length)))
                for length in rng.integers(1, 9, 50)
            ],
        )
        for i in range(20)
    ]
    size = sum(array.nbytes for array in pack(receipts))
    assert size / len(receipts) < 2000


def test_pickled_records_come_back(tmp_path):
    assert_same(pickle.loads(pickle.dumps(packed(UNUSUAL))), UNUSUAL)


def mapped(path: Path, records: list[Record], key: str = "key") -> Records:
    write_arrays(path, key, None, pack(records)._asdict())
    return map_records(str(FOLDER), path, key)


def test_mapped_records_are_pickled_as_a_path(tmp_path):
    records = mapped(tmp_path / "train.bin", UNUSUAL)
    assert_same(records, UNUSUAL)
    data = pickle.dumps(records)
    assert len(data) < 500
    assert_same(pickle.loads(data), UNUSUAL)


def test_a_rewritten_index_is_refused_by_later_readers(tmp_path):
    records = mapped(tmp_path / "train.bin", UNUSUAL)
    data = pickle.dumps(records)
    mapped(tmp_path / "train.bin", UNUSUAL[:1], key="other")
    assert_same(records, UNUSUAL)
    with pytest.raises(ValueError, match=r"train\.bin: was rewritten"):
        pickle.loads(data)


def test_arrays_of_every_shape_are_mapped(tmp_path):
    arrays = {"none": np.zeros((0, 2), np.float32), "one": np.uint8([7]), "b": np.eye(3)}
    write_arrays(tmp_path / "x.bin", "key", {"notes": ["\ud800 é"]}, arrays)
    info, found = map_arrays(tmp_path / "x.bin", "key")
    assert info == {"notes": ["\ud800 é"]} and found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and not found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


def private_kib() -> int:
    """Private memory of this process in KiB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Private_Dirty:")))


def walk(records, grown) -> None:
    """Growth in KiB over three passes, after a few records as warm-up."""
    gc.disable()  # it writes to everything that it looks at
    for record in records[:10]:
        len(record.texts)
    before = private_kib()
    for _ in range(3):
        for record in records:
            len(record.texts) + sum(map(len, record.polygons))
    grown.put(private_kib() - before)


def growth(records) -> int:
    context = multiprocessing.get_context("fork")
    grown = context.SimpleQueue()
    process = context.Process(target=walk, args=(records, grown))
    process.start()
    result = grown.get()
    process.join()
    return result


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_stay_small_while_they_walk_over_all_records(tmp_path):
    """Growth stays below 0.5 MiB; copies of 500 lists of 50 quads would take more than 3 MiB."""
    words = [(QUAD, False, "text")] * 50
    plain = [record_of(f"{i}.jpg", words) for i in range(500)]
    in_memory, from_file = packed(plain), mapped(tmp_path / "train.bin", plain)
    assert growth(plain) > 3 * 1024, "the test would not see it"
    assert growth(in_memory) < 512
    assert growth(from_file) < 512
