"""Decoding all images of a data set, to name those that are damaged."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from tempfile import TemporaryFile

from tqdm import tqdm

from dbnet.data.images import decode_reduced
from dbnet.errors import InputError

_CHUNK = 64  # images that are decoded before libjpeg's lines are looked at


def decode_all(paths: list[str], workers: int) -> tuple[list[str], list[str]]:
    """A problem for each image that cannot be decoded, a warning for each that libjpeg doubts.

    libjpeg fills damaged parts of an image and writes a line to stderr that names no file. These
    lines are captured. Images of the chunk are then decoded one by one to find the file.
    """
    problems: list[str] = []
    warnings: list[str] = []
    with (
        ThreadPoolExecutor(max(1, workers)) as pool,
        tqdm(total=len(paths), desc="decode", unit="image", leave=False, disable=None) as bar,
    ):
        for start in range(0, len(paths), _CHUNK):
            chunk = paths[start : start + _CHUNK]
            with _captured_stderr() as lines:
                problems += filter(None, pool.map(_failure, chunk))
            if lines:
                doubts = [*filter(None, map(_doubt, chunk))]
                warnings += doubts
                if not doubts:  # of something else
                    print(*lines, sep="\n", file=sys.stderr)
            bar.update(len(chunk))
    return problems, warnings


def _failure(path: str) -> str | None:
    try:
        decode_reduced(path, lambda size: 1.0)
    except InputError as error:
        return str(error)
    return None


def _doubt(path: str) -> str | None:
    with _captured_stderr() as lines:
        failure = _failure(path)
    if failure or not lines:
        return None
    return f"{path}: part of the image may be damaged ({lines[0]}); look at it, or save it anew"


@contextmanager
def _captured_stderr() -> Iterator[list[str]]:
    """Captures stderr of this process within the block, as lines."""
    lines: list[str] = []
    sys.stderr.flush()
    original = os.dup(2)
    with TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(original, 2)
            os.close(original)
            file.seek(0)
            lines += filter(None, file.read().decode("utf-8", "replace").splitlines())
