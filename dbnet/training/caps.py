"""Reports limits that left detections out: the limit, the images, and the value to set."""

from itertools import chain
from typing import NamedTuple

from dbnet.reporting.caps import MAX_CANDIDATES, MAX_POLYGONS, cap_line
from dbnet.runtime import distributed
from dbnet.settings import MetricConfig, PostprocessConfig
from dbnet.structures import ImageResult


class LeftOut(NamedTuple):
    """Detections that one limit left out of one image."""

    flag: str
    limit: int
    image_id: str
    left_out: int  # detections
    needed: int  # the limit that would have left none out


class CapCounter:
    """Collects the images of a validation in which a limit has left detections out.

    Pass it to `evaluate` as `on_image`, or call it there.
    """

    def __init__(self, postprocess: PostprocessConfig, metric: MetricConfig) -> None:
        self._max_candidates = postprocess.max_candidates
        self._max_polygons = metric.cleval.max_polygons
        self._found: list[LeftOut] = []

    def __call__(self, result: ImageResult) -> None:
        found, cleval = len(result.detections.polygons), result.scores.get("cleval", {})
        texts = int(cleval.get("num_gt", 0))
        for flag, limit, count in (
            (MAX_CANDIDATES, self._max_candidates, result.detections.capped),
            (MAX_POLYGONS, self._max_polygons, int(cleval.get("num_det_capped", 0))),
        ):
            if count:
                needed = max(found + result.detections.capped, texts)
                self._found.append(LeftOut(flag, limit, result.image_id, count, needed))

    def lines(self) -> list[str]:
        """One line per limit that was reached, over all ranks; every rank must call this."""
        found = list(chain.from_iterable(distributed.all_gather(self._found)))
        return [
            cap_line(
                flag,
                max(each.limit for each in found if each.flag == flag),
                {each.image_id: each.left_out for each in found if each.flag == flag},
                max(each.needed for each in found),
            )
            for flag in (MAX_CANDIDATES, MAX_POLYGONS)
            if any(each.flag == flag for each in found)
        ]
