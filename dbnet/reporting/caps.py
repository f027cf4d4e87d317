"""The line about a limit that has left detections out."""

from collections.abc import Mapping

MAX_CANDIDATES = "--postprocess.max-candidates"
MAX_POLYGONS = "--metric.cleval.max-polygons"
_NAMED = 5  # images in one line


def cap_line(flag: str, limit: int, left_out: Mapping[str, int], needed: int) -> str:
    """The line about one limit.

    Args:
        left_out: image to the number of detections that were left out.
        needed: a limit that would have left nothing out; the proposed one is the next hundred.
    """
    most = sorted(left_out.items(), key=lambda item: -item[1])
    names = ", ".join(f"{name} ({count})" for name, count in most[:_NAMED])
    more = f" and {len(most) - _NAMED} more images" if len(most) > _NAMED else ""
    proposed = 100 * (needed // 100 + 1)
    effect = "CLEval did not count" if flag == MAX_POLYGONS else "the post-process left out"
    return (
        f"WARNING: {flag} {limit} is too low: {effect} {sum(left_out.values())} detections of "
        f"{len(left_out)} images, {names}{more}; set {flag} {proposed}"
    )
