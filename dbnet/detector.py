"""Text detection in Python: weights in, a Detector out.

from dbnet import Detector

detector = Detector()
found = detector("receipt.jpg")
found.polygons, found.quads, found.scores
found.crops()
found.draw().save("found.png")
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from PIL import Image

from dbnet import geometry
from dbnet.data.images import Decode
from dbnet.errors import InputError
from dbnet.inference.crops import crop_quads
from dbnet.inference.inputs import Source
from dbnet.inference.networks import load_network
from dbnet.inference.pipeline import Item, Located, detect
from dbnet.inference.sources import ImageLike, as_item
from dbnet.inference.tiling import Tiling
from dbnet.inference.weights import released_weights
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.reporting.pictures import draw_found
from dbnet.settings import PostprocessConfig, TargetsConfig

_ONE_IMAGE = (str, bytes, np.ndarray, Source)  # although they can be iterated


@dataclass(frozen=True)
class Found:
    """The text found in one image, in reading order: rows downwards, texts along a row.

    All coordinates are pixels of the upright original image, x to the right, y downwards, with
    pixel centres at whole numbers: 0..width - 1, 0..height - 1.
    """

    polygons: list[np.ndarray]
    """n outlines, each float32 (P, 2), P >= 3."""
    quads: np.ndarray
    """float32 (n, 4, 2): their smallest rectangles, clockwise, first the corner above the first
    letter."""
    scores: np.ndarray
    """float32 (n,): mean probability, 0..1."""
    rows: np.ndarray
    """int (n,): number of each text's row, from 0 at the top."""
    size: tuple[int, int]
    """Height and width of the upright original."""
    side: int
    """Longest side of the image at the network in pixels; more than `Detector.max_side` where the
    text was too small for it and the image was cut into windows, less where it was too large."""
    angle: float
    """Angle of the lines to the x axis that the image was turned back by before it was read,
    degrees clockwise; 0 where it was not turned."""
    capped: int
    """Texts left out by `max_candidates`."""
    decode: Decode = field(repr=False)
    """Reads the image again; see dbnet.data.images.decode_reduced."""

    def crops(self) -> list[np.ndarray]:
        """Each quad of the image as an upright text image, uint8 (h, w, 3) RGB.

        The image is read again from its path; an array must not have been changed.

        Raises:
            InputError: the image is no longer there.
        """
        decoded = self.decode(lambda size: 1.0)
        quads = geometry.transform(list(self.quads), decoded.matrix)
        return crop_quads(decoded.pixels, np.array(quads).reshape(-1, 4, 2))

    def draw(self) -> Image.Image:
        """The image with its texts outlined and tinted.

        Raises:
            InputError: the image is no longer there.
        """
        decoded = self.decode(lambda size: 1.0)
        return Image.fromarray(
            draw_found(decoded.pixels, geometry.transform(self.polygons, decoded.matrix))
        )


class Detector:
    """Finds the text in images.

    Calls from several threads are safe: a detector holds no state that a call changes. Nothing is
    printed, and no file is written.

    Args:
        weights: a checkpoint such as runs/NAME/best.pt, or an ONNX file; None: the released
            weights.
        device: of a checkpoint: cpu, cuda, cuda:1, mps, or auto for the GPU where there is one.
        precision: of a checkpoint: fp32, bf16, fp16, or auto for bf16 where the device computes in
            it natively.
        provider: execution provider of onnxruntime for an ONNX file, such as cuda, tensorrt,
            openvino, coreml or cpu; auto: the first that is installed (see `OnnxNetwork`).
        max_side: longest side at the network in pixels, a multiple of 32; None: as the weights were
            trained. More finds smaller text.
        tile: "auto": images whose text would be too small or too large go through the network again
            at the scale that the text needs, in windows where that is larger than `max_side`, and
            images whose lines are tilted or run up or down are turned; "off": every image is
            fitted to `max_side`.
        bin_thresh, box_thresh, max_candidates, use_polygon: the settings of that name in
            `PostprocessConfig`; None: as the weights were trained. `use_polygon` false gives
            rotated rectangles.
        postprocess: all settings of the post-process; those above take precedence.
        shrink_ratio: r of the training shrink; None: as the weights were trained.
        batch_size: images of one shape that go through the network together.
        num_workers: threads that decode images ahead of the network.
        compiled: compile the network of a checkpoint (torch.compile): a minute per image shape.

    Attributes:
        description: the weights, and the device, precision and runtime they run with.
        max_side: longest side at the network in pixels.
        postprocess: settings of the post-process.

    Raises:
        InputError: weights that are missing or damaged, a device that does not exist here, a
            setting out of its range.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto",
        provider: str = "auto",
        max_side: int | None = None,
        tile: Literal["auto", "off"] = "auto",
        bin_thresh: float | None = None,
        box_thresh: float | None = None,
        max_candidates: int | None = None,
        use_polygon: bool | None = None,
        postprocess: PostprocessConfig | None = None,
        shrink_ratio: float | None = None,
        batch_size: int = 8,
        num_workers: int = 4,
        compiled: bool = False,
    ) -> None:
        for name, number in (("batch_size", batch_size), ("num_workers", num_workers)):
            if number < 1:
                raise InputError(f"{name} {number}: must be at least 1")
        loaded = load_network(
            released_weights() if weights is None else Path(weights),
            device=device,
            precision=precision,
            provider=provider,
            compiled=compiled,
        )
        trained = loaded.trained
        named = {
            "bin_thresh": bin_thresh,
            "box_thresh": box_thresh,
            "max_candidates": max_candidates,
            "use_polygon": use_polygon,
        }
        changed: dict[str, Any] = {k: v for k, v in named.items() if v is not None}
        self.description = loaded.description
        self.max_side = trained.image_size if max_side is None else max_side
        if self.max_side < 64 or self.max_side % 32:
            raise InputError(f"max_side {self.max_side}: must be a multiple of 32, at least 64")
        self.postprocess = replace(postprocess or trained.postprocess, **changed)
        self._network = loaded.network
        self._batch_size = batch_size
        self._first_batch = batch_size if compiled else 1  # each size is compiled anew
        self._num_workers = num_workers
        shrink = trained.shrink_ratio if shrink_ratio is None else shrink_ratio
        shrink = TargetsConfig(shrink_ratio=shrink).shrink_ratio
        self._postprocessor = DBPostprocessor(self.postprocess, shrink_ratio=shrink)
        self._tiling = None
        if tile == "auto":
            self._tiling = Tiling(
                self._network,
                image_size=self.max_side,
                postprocess=self.postprocess,
                shrink_ratio=shrink,
            )
        elif tile != "off":
            raise InputError(f"tile {tile}: must be auto or off")

    @overload
    def __call__(self, images: ImageLike) -> Found: ...  # type: ignore[overload-overlap] # str
    @overload
    def __call__(self, images: Iterable[ImageLike]) -> list[Found]: ...

    def __call__(self, images: ImageLike | Iterable[ImageLike]) -> Found | list[Found]:
        """The text in an image, or in each of several, which are batched.

        Args:
            images: a path, the bytes of an image file, a PIL image, or a numpy array: (H, W) grey,
                (H, W, 3) RGB or (H, W, 4) RGBA, of uint8, uint16 or bool; or an iterable of these.
                Files and PIL images are turned upright as their EXIF orientation says.

        Raises:
            InputError: an image cannot be read; its line names the file, or its place in the list.
        """

        def fail(index: int, error: InputError) -> None:
            raise error

        if not isinstance(images, Iterable) or isinstance(images, _ONE_IMAGE):
            [(_, found)] = self._detect([as_item(images, "image")], fail)
            return found
        items = [as_item(image, f"image {index}") for index, image in enumerate(images)]
        by_index = dict(self._detect(items, fail))
        return [by_index[index] for index in range(len(items))]

    def stream(
        self, images: Iterable[ImageLike], *, on_failure: Callable[[int, InputError], None]
    ) -> Iterator[tuple[int, Found]]:
        """Index and texts of each image as soon as they are known, in any order.

        Memory is that of a few batches, however many images there are.

        Args:
            on_failure: called with the index of each image that cannot be read; the others go on.
        """
        items = (as_item(image, f"image {index}") for index, image in enumerate(images))
        return self._detect(items, on_failure)

    def _detect(
        self, items: Iterable[Item], on_failure: Callable[[int, InputError], None]
    ) -> Iterator[tuple[int, Found]]:
        with ThreadPoolExecutor(self._num_workers) as pool:
            for index, located in detect(
                items,
                self._network,
                self._postprocessor,
                tiling=self._tiling,
                image_size=self.max_side,
                batch_size=self._batch_size,
                first_batch=self._first_batch,
                pool=pool,
                on_failure=on_failure,
            ):
                yield index, _found(located)


def _found(located: Located) -> Found:
    return Found(
        polygons=located.detections.polygons,
        quads=located.layout.quads,
        scores=located.detections.scores,
        rows=located.layout.rows,
        size=located.size,
        side=located.side,
        angle=math.degrees(located.angle),
        capped=located.detections.capped,
        decode=located.decode,
    )
