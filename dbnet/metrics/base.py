"""The base of the metrics, and the names of their figures."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

RATES = ("precision", "recall", "hmean")

Polygons = Sequence[Sequence[np.ndarray]]  # per image, n arrays (P, 2) in original pixels
Flags = Sequence[Sequence[bool] | np.ndarray]  # per image, bool (n,)


class Metric(ABC):
    """A metric over a set of images, from sums over these images.

    `reset` makes the sums, `update_batch` adds to them, `compute` gives the figures. Images come in
    batches, because one image has too few outlines for long numpy operations.
    """

    _totals: np.ndarray  # float64, the sums

    @abstractmethod
    def reset(self) -> None:
        """Forget all images."""

    @abstractmethod
    def update_batch(
        self,
        det_polygons: Polygons,
        gt_polygons: Polygons,
        ignored: Flags,
        texts: Sequence[Sequence[str] | None],
        image_sizes: Sequence[tuple[int, int] | None],
        /,
    ) -> list[dict[str, float]]:
        """Add N images; returns the figures of each.

        Args:
            det_polygons: per image, D (P, 2) arrays in pixels, best first.
            gt_polygons: per image, G (P, 2) arrays in the same frame.
            ignored: per image, bool (G,): which are don't-care regions.
            texts: per image, G transcriptions or None.
            image_sizes: per image, height and width, or None.

        Raises:
            ValueError: wrong shapes or lengths, or numbers that are not finite. No image is added.
        """

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The figures over all images."""

    def update(
        self,
        det_polygons: Sequence[np.ndarray],
        gt_polygons: Sequence[np.ndarray],
        ignored: Sequence[bool],
        texts: Sequence[str] | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> dict[str, float]:
        """`update_batch` for one image. Arguments and result are those of this image."""
        images = ([det_polygons], [gt_polygons], [ignored], [texts], [image_size])
        return self.update_batch(*images)[0]

    def state(self) -> np.ndarray:
        """The sums, float64. States of several processes may be added."""
        return self._totals.copy()

    def load_state(self, state: np.ndarray) -> None:
        """Continue from a `state`, or from a sum of states.

        Raises:
            ValueError: the shape is wrong, as of a metric with other settings.
        """
        state = np.array(state, np.float64)
        if state.shape != self._totals.shape:
            raise ValueError(
                f"{type(self).__name__}: the state has shape {state.shape}, not "
                f"{self._totals.shape}: make it with the same settings, such as scale bins"
            )
        self._totals = state


def named(rates: Sequence[float] | np.ndarray, suffix: str = "") -> dict[str, float]:
    """Three rates by name."""
    return {name + suffix: float(rate) for name, rate in zip(RATES, rates, strict=True)}


def counted(counts: Any) -> dict[str, int]:
    """A NamedTuple of counts as a dict. Its values are floats, because one array sums them."""
    return {name: int(count) for name, count in counts._asdict().items()}
