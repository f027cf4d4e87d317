"""Groups of values that lie end to end in one array."""

import numpy as np


def ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers from first[i] up to last[i], for all i in a row, after their i."""
    sizes = last - first
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return owner, np.arange(len(owner)) + (first - np.cumsum(sizes) + sizes)[owner]
