"""Names of the figures that both metrics return."""

from collections.abc import Sequence
from typing import Any

import numpy as np

RATES = ("precision", "recall", "hmean")


def named(rates: Sequence[float] | np.ndarray, suffix: str = "") -> dict[str, float]:
    """Three rates by name."""
    return {name + suffix: float(rate) for name, rate in zip(RATES, rates, strict=True)}


def counted(counts: Any) -> dict[str, int]:
    """A NamedTuple of counts as a dict. Its values are floats, because one array sums them."""
    return {name: int(count) for name, count in counts._asdict().items()}
