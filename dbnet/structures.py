"""Types that the components exchange. Shapes stand beside the fields.

Polygons are float32 (P, 2) arrays, P >= 3, xy in pixels with pixel centres at whole numbers
(OpenCV's frame: the top-left pixel's centre is (0, 0)).
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # prediction by onnxruntime must not need PyTorch
    from torch import Tensor


class Record(NamedTuple):
    """One annotated image on disk, checked at load time. Polygons are in its upright frame."""

    image_path: str
    image_id: str  # name within the data set, unique
    polygons: list[np.ndarray]  # n x float32 (P, 2), original pixels
    ignored: np.ndarray  # bool (n,), true: illegible, neither text nor background
    texts: list[str]  # n transcriptions, "" where unknown


class Sample(NamedTuple):
    """One image on its way to the network."""

    image: np.ndarray  # uint8 (H, W, 3), RGB, upright
    polygons: list[np.ndarray]  # n x float32 (P, 2), pixels of `image`, may leave it
    ignored: np.ndarray  # bool (n,)
    texts: list[str]  # n
    image_id: str
    matrix: np.ndarray  # float64 (3, 3), original pixels -> pixels of `image`
    orig_polygons: list[np.ndarray]  # n x float32 (P, 2), original pixels, as annotated
    orig_size: tuple[int, int]  # height, width of the upright original
    seconds: dict[str, float] = {}  # what making it took, by stage; never changed in place
    unmirrored: list[np.ndarray] | None = None  # of a mirrored one, its polygons before that


class TargetMaps(NamedTuple):
    """Ground truth of one image."""

    shrink_map: np.ndarray  # uint8 (H, W), 1 inside the shrunk polygons, else 0
    shrink_mask: np.ndarray  # uint8 (H, W), 0 where the probability loss must not look
    thresh_map: np.ndarray  # float32 (H, W), thresh_min..thresh_max
    thresh_mask: np.ndarray  # uint8 (H, W), 1 where the threshold loss looks


class Batch(NamedTuple):
    """N samples, stacked. Ragged fields are lists with one entry per image."""

    images: "Tensor"  # uint8 (N, 3, H, W)
    shrink_map: "Tensor"  # uint8 (N, 1, H, W), 0 or 1
    shrink_mask: "Tensor"  # uint8 (N, 1, H, W), 0 or 1
    thresh_map: "Tensor"  # float32 (N, 1, H, W)
    thresh_mask: "Tensor"  # uint8 (N, 1, H, W), 0 or 1
    polygons: list[list[np.ndarray]]  # pixels of `images`
    orig_polygons: list[list[np.ndarray]]  # original pixels
    ignored: list[np.ndarray]
    texts: list[list[str]]
    image_ids: list[str]
    matrices: np.ndarray  # float64 (N, 3, 3), original pixels -> pixels of `images`
    orig_sizes: list[tuple[int, int]]
    seconds: dict[str, float]  # what making it took, summed over samples, by stage


class DBOutputs(NamedTuple):
    """Logits of the network. P = sigmoid(prob_logits), T = sigmoid(thresh_logits)."""

    prob_logits: "Tensor"  # (N, 1, H, W)
    thresh_logits: "Tensor"  # (N, 1, H, W)


class Detections(NamedTuple):
    """Text found in one image, highest score first."""

    polygons: list[np.ndarray]  # n x float32 (P, 2)
    scores: np.ndarray  # float32 (n,), 0..1
    capped: int  # candidates left out by max_candidates, 0 if none


class ImageResult(NamedTuple):
    """One validated image."""

    image_id: str
    detections: Detections  # original pixels
    scores: dict[str, dict[str, float]]  # metric name -> that image's figures
    size: tuple[int, int]  # height, width of the upright original
    seconds: float = 0.0  # its post-process
