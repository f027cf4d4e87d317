"""The caches: a hit equals a miss bit by bit; damaged entries never give wrong maps or pixels."""

import errno
import logging
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import PIL
import pyclipper
import pytest
import shapely

from dbnet.data.collate import cached_maps
from dbnet.data.samples import load_sample
from dbnet.data.storage import caches as cache_module
from dbnet.data.storage.caches import Caches, ImageCache, TargetCache
from dbnet.data.storage.store import CacheCounts
from dbnet.data.targets import make_targets
from dbnet.data.transforms import EvalTransform, letterbox, mirror
from dbnet.settings import TargetsConfig
from dbnet.structures import Record, Sample

PARAMETERS = {"shrink_ratio": 0.4, "thresh_min": 0.3, "thresh_max": 0.7}
HALF_STEP = (0.7 - 0.3) / 255 / 2
HEIGHT, WIDTH = 90, 140
LIBRARIES = [(library, "__version__") for library in (cv2, np, PIL, pyclipper, shapely)]


def page(seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Five slanted lines of text, one of them ignored."""
    rng = np.random.default_rng(seed)
    lines = []
    for row in range(5):
        left, right = rng.uniform(5, 30), rng.uniform(80, 130)
        top, slope = 5 + 16 * row, rng.uniform(-3, 3)
        quad = [[left, top], [right, top + slope], [right, top + slope + 11], [left, top + 11]]
        lines.append(np.array(quad, np.float32))
    return lines, np.array([False, False, True, False, False])


def make_cache(folder: Path, **changes) -> TargetCache:
    return TargetCache(folder=folder, targets=TargetsConfig(**PARAMETERS | changes))


@pytest.fixture
def cache(tmp_path) -> TargetCache:
    return make_cache(tmp_path)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def assert_same(ours, expected) -> None:
    for plane, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(plane, other)


def assert_right(maps, polygons, ignored, height=HEIGHT, width=WIDTH) -> None:
    expected = make_targets(polygons, ignored, height, width, **PARAMETERS)
    np.testing.assert_array_equal(maps.shrink_map, expected.shrink_map)
    np.testing.assert_array_equal(maps.shrink_mask, expected.shrink_mask)
    np.testing.assert_array_equal(maps.thresh_mask, expected.thresh_mask)
    np.testing.assert_allclose(maps.thresh_map, expected.thresh_map, rtol=0, atol=HALF_STEP + 1e-6)


def test_hit_equals_miss(cache, tmp_path):
    miss, hit = cache(*page(), HEIGHT, WIDTH), cache(*page(), HEIGHT, WIDTH)
    assert_same(hit, miss)
    assert_right(miss, *page())
    assert [plane.dtype for plane in hit] == [plane.dtype for plane in miss]
    assert all(plane.flags.writeable for plane in hit)
    size = entries(tmp_path)[0].stat().st_size
    assert cache.counts() == CacheCounts(hits=1, misses=1, bytes_stored=size)


def test_another_cache_on_the_same_folder_hits(tmp_path):
    miss = make_cache(tmp_path)(*page(), HEIGHT, WIDTH)
    other = make_cache(tmp_path)
    assert_same(other(*page(), HEIGHT, WIDTH), miss)
    assert other.counts() == CacheCounts(hits=1, misses=0, bytes_stored=0)


def test_maps_are_the_callers_to_change(cache):
    for _ in range(2):
        maps = cache(*page(), HEIGHT, WIDTH)
        assert_right(maps, *page())
        for plane in maps:
            plane.fill(9)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 3), (200, 60), (50, 300)])
def test_text_at_the_border_and_no_text_are_cached(cache, height, width):
    nothing = [], np.zeros(0, bool)
    for polygons, ignored in (page(), nothing):
        for _ in range(2):
            assert_right(cache(polygons, ignored, height, width), polygons, ignored, height, width)
        mirrored = cache.get(polygons, ignored, height, width, flipped=True)
        plain = cache(polygons, ignored, height, width)
        assert_same(mirrored, [plane[:, ::-1] for plane in plain])
    assert cache.counts()[:2] == (6, 2)


def moved(polygons, ignored):
    polygons[0][3, 1] += 1e-3
    return polygons, ignored


def joined(polygons, ignored):  # the same points, cut into polygons elsewhere
    parts = [polygons[0][:3], np.concatenate([polygons[0][3:], polygons[1]])]
    return [*parts, *polygons[2:]], ignored


def other_ignored(polygons, ignored):
    return polygons, ~ignored


def one_less(polygons, ignored):
    return polygons[:-1], ignored[:-1]


@pytest.mark.parametrize("change", [moved, joined, other_ignored, one_less])
def test_changed_annotation_misses(cache, change):
    cache(*page(), HEIGHT, WIDTH)
    changed = change(*page())
    assert_right(cache(*changed, HEIGHT, WIDTH), *changed)
    assert cache.counts()[:2] == (0, 2)


@pytest.mark.parametrize("size", [(HEIGHT + 1, WIDTH), (HEIGHT, WIDTH + 1), (WIDTH, HEIGHT)])
def test_changed_size_misses(cache, size):
    cache(*page(), HEIGHT, WIDTH)
    assert_right(cache(*page(), *size), *page(), *size)
    assert cache.counts()[:2] == (0, 2)


@pytest.mark.parametrize(
    "change", [{"shrink_ratio": 0.5}, {"thresh_min": 0.2}, {"thresh_max": 0.8}]
)
def test_changed_parameter_misses(tmp_path, change):
    make_cache(tmp_path)(*page(), HEIGHT, WIDTH)
    other = make_cache(tmp_path, **change)
    maps = other(*page(), HEIGHT, WIDTH)
    expected = make_targets(*page(), HEIGHT, WIDTH, **(PARAMETERS | change))
    np.testing.assert_allclose(maps.thresh_map, expected.thresh_map, rtol=0, atol=2 * HALF_STEP)
    np.testing.assert_array_equal(maps.shrink_map, expected.shrink_map)
    assert other.counts()[:2] == (0, 1)


VERSIONS = [(cache_module, "_TARGETS_VERSION"), (cache_module, "MIN_SIDE"), *LIBRARIES]


@pytest.mark.faults("cache of another version")
@pytest.mark.parametrize(("owner", "name"), VERSIONS)
def test_targets_of_another_version_miss(cache, monkeypatch, owner, name):
    cache(*page(), HEIGHT, WIDTH)
    monkeypatch.setattr(owner, name, 99)
    cache(*page(), HEIGHT, WIDTH)
    assert cache.counts()[:2] == (0, 2)


def test_flipped_maps_are_mirrored_and_share_the_entry(cache):
    plain = cache(*page(), HEIGHT, WIDTH)
    mirrored = cache.get(*page(), HEIGHT, WIDTH, flipped=True)
    assert_same(mirrored, [plane[:, ::-1] for plane in plain])
    assert all(plane.flags.c_contiguous for plane in mirrored)
    assert cache.counts()[:2] == (1, 1)


def test_flipped_maps_are_those_of_the_mirrored_polygons(tmp_path):
    polygons, ignored = page()
    ours = make_cache(tmp_path).get(polygons, ignored, HEIGHT, WIDTH, flipped=True)
    mirrored = [(p * (-1, 1) + (WIDTH - 1, 0)).astype(np.float32) for p in polygons]
    expected = make_targets(mirrored, ignored, HEIGHT, WIDTH, **PARAMETERS)
    np.testing.assert_allclose(ours.thresh_map, expected.thresh_map, rtol=0, atol=HALF_STEP + 1e-5)
    np.testing.assert_array_equal(ours.thresh_mask, expected.thresh_mask)
    for name in ("shrink_map", "shrink_mask"):  # lines are not drawn alike from both ends
        assert np.mean(getattr(ours, name) != getattr(expected, name)) < 2e-3


class Asked:
    """A cache that records its calls."""

    def __init__(self) -> None:
        self.calls = []

    def get(self, polygons, ignored, height, width, *, flipped):
        self.calls.append((np.concatenate(polygons).tobytes(), height, width, flipped))


def test_every_mirrored_sample_asks_for_the_plain_one_to_the_bit():
    rng = np.random.default_rng(0)
    transform = EvalTransform(image_size=640)
    for _ in range(60):
        height, width = rng.integers(30, 3000, 2).tolist()
        quads = (rng.uniform(0, 1, (100, 4, 2)) * (width, height)).astype(np.float32)
        sample = Sample(
            np.zeros((1, 1, 3), np.uint8), [], np.zeros(100, bool), [""] * 100, "x",
            np.diag([1 / width, 1 / height, 1.0]), list(quads), (height, width),
        )  # fmt: skip
        plain = transform(sample, transform.geometry(rng), rng)
        cache = Asked()
        for asking in (plain, mirror(plain)):
            cached_maps(asking, cache=cache)
        (*ours, flipped), (*others, also_flipped) = cache.calls
        assert ours == others and (flipped, also_flipped) == (False, True)


def test_impossible_polygons_are_refused_as_without_the_cache(tmp_path):
    polygons, ignored = page()
    polygons[1][0, 0] = np.nan
    with pytest.raises(ValueError, match="polygon 1"):
        make_cache(tmp_path)(polygons, ignored, HEIGHT, WIDTH)
    assert entries(tmp_path) == []


def test_equal_thresholds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--targets\.thresh-min"):
        make_cache(tmp_path, thresh_min=0.7)


def damages(entry: bytes) -> dict[str, bytes]:
    found = {"empty": b"", "short": entry[:30], "foreign": b"not an entry " * 100}
    for cut in (1, 4, len(entry) // 2):
        found[f"without the last {cut} bytes"] = entry[:-cut]
    for place in (*range(40), *range(40, len(entry), len(entry) // 60), len(entry) - 1):
        flipped = bytearray(entry)
        flipped[place] ^= 0x10
        found[f"byte {place} changed"] = bytes(flipped)
    return found


def check_rebuilt(folder: Path, cache, use) -> None:
    """Damage the one entry of a folder in many ways; `use` asks the cache and checks the result."""
    (path,) = entries(folder)
    good = path.read_bytes()
    for misses, (name, damaged) in enumerate(damages(good).items(), start=2):
        path.write_bytes(damaged)
        use()
        assert cache.counts().misses == misses, name
        assert path.read_bytes() == good, name


@pytest.mark.faults("damaged cache entry")
def test_damaged_entries_are_rebuilt(cache, tmp_path):
    expected = cache(*page(), HEIGHT, WIDTH)
    check_rebuilt(tmp_path, cache, lambda: assert_same(cache(*page(), HEIGHT, WIDTH), expected))


def test_entry_under_the_name_of_another_is_rebuilt(cache, tmp_path):
    cache(*page(0), HEIGHT, WIDTH)
    (first,) = entries(tmp_path)
    cache(*page(1), HEIGHT, WIDTH)
    (second,) = set(entries(tmp_path)) - {first}
    second.write_bytes(first.read_bytes())
    assert_right(cache(*page(1), HEIGHT, WIDTH), *page(1))
    assert cache.counts()[:2] == (0, 3)


def fill(cache: TargetCache, seeds: list[int]) -> None:
    for seed in seeds:
        assert_right(cache(*page(seed), HEIGHT, WIDTH), *page(seed))


def run(method: str, *arguments: tuple[TargetCache, list[int]]) -> list[int | None]:
    """Exit codes of processes that fill the cache at the same time."""
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=fill, args=pair) for pair in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    return [process.exitcode for process in processes]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_the_folder_and_the_counts(tmp_path, method):
    cache, seeds = make_cache(tmp_path), list(range(20))
    assert run(method, (cache, seeds), (cache, seeds)) == [0, 0]
    hits, misses, stored = cache.counts()
    assert hits + misses == 40 and misses >= 20
    assert len(entries(tmp_path)) == 20  # no temporary file is left
    assert stored >= sum(path.stat().st_size for path in entries(tmp_path))
    fill(cache, seeds)
    assert cache.counts()[:2] == (hits + 20, misses)


@pytest.mark.faults("two cache writers")
def test_two_writers_of_one_entry_do_not_meet(tmp_path, monkeypatch, caplog):
    cache, write_bytes = make_cache(tmp_path), Path.write_bytes

    def let_another_pass(path: Path, data: bytes) -> None:
        write_bytes(path, data)
        monkeypatch.setattr(Path, "write_bytes", write_bytes)
        assert run("fork", (cache, [0])) == [0]

    monkeypatch.setattr(Path, "write_bytes", let_another_pass)
    fill(cache, [0, 0])
    assert caplog.messages == [] and len(entries(tmp_path)) == 1
    assert cache.counts()[:2] == (1, 2)


@pytest.mark.faults("killed while caching")
def test_a_kill_while_writing_leaves_whole_entries(tmp_path, monkeypatch):
    write_bytes = Path.write_bytes

    def die_half_way(path: Path, data: bytes) -> int:
        if len(entries(tmp_path)) < 3:
            return write_bytes(path, data)
        write_bytes(path, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    monkeypatch.setattr(Path, "write_bytes", die_half_way)
    assert run("fork", (make_cache(tmp_path), list(range(10)))) == [-signal.SIGKILL]
    monkeypatch.undo()

    cache = make_cache(tmp_path)
    fill(cache, list(range(10)))
    assert cache.counts()[:2] == (3, 7)


def fails(code: int):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.faults("cache: full, read-only")
@pytest.mark.parametrize(
    ("method", "code"),
    [("write_bytes", errno.ENOSPC), ("replace", errno.EROFS), ("mkdir", errno.EACCES)],
)
def test_unwritable_folder_turns_storing_off(cache, tmp_path, monkeypatch, caplog, method, code):
    expected = cache(*page(0), HEIGHT, WIDTH)
    stored = cache.counts().bytes_stored
    monkeypatch.setattr(Path, method, fails(code))
    with caplog.at_level(logging.WARNING):
        fill(cache, [1, 2, 1])
    monkeypatch.undo()
    assert len(caplog.messages) == 1 and os.strerror(code) in caplog.messages[0]
    fill(cache, [3])  # stays off
    assert len(entries(tmp_path)) == 1
    assert_same(cache(*page(0), HEIGHT, WIDTH), expected)  # what is there still serves
    assert cache.counts() == CacheCounts(hits=1, misses=5, bytes_stored=stored)


def test_a_folder_that_cannot_be_made_is_told_once(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cache = make_cache(tmp_path / "file" / "cache")
    with caplog.at_level(logging.WARNING):
        fill(cache, [0, 0, 1])
    assert len(caplog.messages) == 1 and str(cache.store.folder) in caplog.messages[0]
    assert cache.counts() == CacheCounts(hits=0, misses=3, bytes_stored=0)


def test_one_process_turns_storing_off_for_all(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", fails(errno.ENOSPC))
    assert run("fork", (cache, [0])) == [0]
    monkeypatch.undo()
    fill(cache, [1])
    assert entries(tmp_path) == []


def write_image(path: Path, height: int, width: int, seed: int = 0) -> Record:
    """Write an image of noise, so that every pixel matters, with one text."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    quad = np.float32([[2, 1], [width - 2, 3], [width - 3, height / 2], [1, height / 2]])
    return Record(str(path), path.name, [quad], np.array([False]), ["text"])


def assert_same_sample(ours: Sample, expected: Sample) -> None:
    for name in ("image", "matrix", "polygons", "orig_polygons", "ignored"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name), name)
    for name in ("texts", "image_id", "orig_size"):
        assert getattr(ours, name) == getattr(expected, name)


def seen(record: Record, cache: ImageCache, size: int = 64) -> Sample:
    """The sample from the cache, checked against the sample without it."""
    transform, rng = EvalTransform(image_size=size), np.random.default_rng(0)
    geometry = transform.geometry(rng)
    ours = transform(cache.load(record, geometry, image_size=size), geometry, rng)
    assert_same_sample(ours, transform(load_sample(record, geometry), geometry, rng))
    return ours


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(
    ("height", "width"),
    [(150, 97), (97, 150), (101, 101), (64, 64), (64, 20), (40, 30), (11, 63), (63, 64), (1, 300)],
)
def test_cached_image_is_the_letterboxed_one(tmp_path, height, width, suffix):
    record = write_image(tmp_path / f"image{suffix}", height, width)
    cache = ImageCache(folder=tmp_path / "cache")
    for counts in ((0, 1), (1, 1), (2, 1)):
        seen(record, cache)
        assert cache.counts()[:2] == counts
    assert seen(record, ImageCache(folder=tmp_path / "cache")).orig_size == (height, width)


def test_an_image_entry_holds_no_padding(tmp_path):
    cache = ImageCache(folder=tmp_path / "cache")
    seen(write_image(tmp_path / "image.png", 160, 80), cache)
    assert cache.store.bytes_on_disk() == cache.counts().bytes_stored == 64 * 32 * 3 + 16 + 16 + 4


def other_pixels(path: Path) -> Path:
    write_image(path, 100, 80, seed=1)
    return path


def other_mtime(path: Path) -> Path:
    times = path.stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1_000))
    return path


def other_length(path: Path) -> Path:
    times = path.stat()
    path.write_bytes(path.read_bytes() + b"more")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return path


def other_pixels_of_equal_size_and_time(path: Path) -> Path:
    """Replace the file as `cp --preserve` and `rsync --times` do: only its ctime changes."""
    times = path.stat()
    time.sleep(0.02)  # some kernels round the time of a change to 0.01 s
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return path


def other_name(path: Path) -> Path:
    return path.rename(path.with_name("other.bmp"))


@pytest.fixture
def image(tmp_path) -> tuple[Record, ImageCache]:
    """An image of 100 x 80 pixels, and a cache that has seen it."""
    record, cache = write_image(tmp_path / "image.bmp", 100, 80), ImageCache(folder=tmp_path / "c")
    seen(record, cache)
    return record, cache


@pytest.mark.parametrize(
    "change",
    [other_pixels, other_mtime, other_length, other_pixels_of_equal_size_and_time, other_name],
)
def test_changed_image_file_misses(image, change):
    record, cache = image
    seen(record._replace(image_path=str(change(Path(record.image_path)))), cache)
    assert cache.counts()[:2] == (0, 2)


def test_changed_image_size_misses(image):
    seen(*image, size=96)
    assert image[1].counts()[:2] == (0, 2)


@pytest.mark.parametrize(("owner", "name"), [(cache_module, "_IMAGES_VERSION"), *LIBRARIES])
def test_another_version_of_what_decodes_misses(image, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, 99)
    seen(*image)
    assert image[1].counts()[:2] == (0, 2)


def test_changed_annotation_hits_the_image_and_is_used(image):
    record, cache = image
    seen(record._replace(polygons=[record.polygons[0] + 1], texts=["other"]), cache)
    assert cache.counts()[:2] == (1, 1)


def test_two_ways_to_one_file_share_the_entry(image, tmp_path):
    record, cache = image
    (tmp_path / "link.bmp").symlink_to(record.image_path)
    seen(record._replace(image_path=str(tmp_path / "link.bmp")), cache)
    assert cache.counts()[:2] == (1, 1)


def test_damaged_image_entries_are_rebuilt(tmp_path):
    record, cache = write_image(tmp_path / "image.png", 50, 40), ImageCache(folder=tmp_path / "c")
    seen(record, cache)
    check_rebuilt(tmp_path / "c", cache, lambda: seen(record, cache))


def test_an_unwritable_image_cache_still_answers(tmp_path, caplog):
    record = write_image(tmp_path / "image.png", 100, 80)
    (tmp_path / "file").write_text("in the way")
    cache = ImageCache(folder=tmp_path / "file" / "cache")
    for _ in range(2):
        seen(record, cache)
    assert len(caplog.messages) == 1 and cache.store.is_off
    assert cache.counts() == CacheCounts(hits=0, misses=2, bytes_stored=0)


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_an_image_that_cannot_be_read_is_named_and_not_cached(tmp_path, content):
    record, cache = write_image(tmp_path / "image.png", 50, 40), ImageCache(folder=tmp_path / "c")
    Path(record.image_path).unlink()
    if content is not None:
        Path(record.image_path).write_bytes(content)
    with pytest.raises(ValueError, match=r"image\.png: "):
        cache.load(record, partial(letterbox, size=64), image_size=64)
    assert entries(tmp_path / "c") == []


def test_figures_tell_what_happened_since(cache, tmp_path):
    fill(cache, [0, 1])
    caches = Caches(targets=cache, images=None)
    before = caches.counts()
    size = sum(path.stat().st_size for path in entries(tmp_path))
    assert caches.figures(since=before) == {"cache/targets_bytes": size}
    fill(cache, [0, 1, 1, 2])
    size = sum(path.stat().st_size for path in entries(tmp_path))
    expected = {"cache/targets_hit_rate": 0.75, "cache/targets_bytes": size}
    assert caches.figures(since=before) == expected
    assert Caches(targets=None, images=None).figures(since={}) == {}


def test_stopped_while_writing_leaves_no_temporary_file(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    cache = make_cache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cache(*page(), HEIGHT, WIDTH)
    assert entries(tmp_path) == [] and not cache.store.is_off
