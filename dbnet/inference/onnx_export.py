"""A checkpoint as an ONNX file that needs neither this code nor PyTorch.

Input `images`: uint8 (N, 3, H, W) RGB, any N, H and W multiples of 32; the normalisation is part
of the graph. Output `prob_map`: float32 (N, 1, H, W), 0..1. The metadata holds, as JSON, what the
rest of a detector needs: image_size, shrink_ratio, postprocess; then the precision, and the SHA-256
of the checkpoint's file.
"""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from dbnet.errors import InputError
from dbnet.inference.onnx import CHECKPOINT, PRECISION, OnnxNetwork, optional, set_metadata
from dbnet.model.dbnet import DBNet
from dbnet.runtime.files import replacing
from dbnet.synthetic.dataset import draw_receipt

TOLERANCE = 1e-4  # of the probability, between onnxruntime and PyTorch, both in float32
CHECKED_SHAPES = ((1, 640, 480), (3, 320, 448))  # N, H, W
_OPSET = 17  # of 2022: every runtime in use knows it


def write(
    out: Path, model: DBNet, settings: dict[str, Any], *, checkpoint_sha256: str | None = None
) -> float:
    """Write `out` in float32: whole, checked, or not at all; `model` changes to eval mode.

    Args:
        settings: see `OnnxNetwork.settings`.
        checkpoint_sha256: of the checkpoint that `model` was read from, hexadecimal.

    Returns the largest difference of the probability maps from `model.predict`.

    Raises:
        InputError: the difference is above TOLERANCE.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    proto = to_onnx(model)
    set_metadata(proto, settings | {CHECKPOINT: checkpoint_sha256, PRECISION: "fp32"})
    with replacing(out) as draft:
        with draft.open("wb") as file:
            file.write(proto.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
        difference = largest_difference(model, OnnxNetwork(path=draft))
        if not difference <= TOLERANCE:  # true for NaN too
            raise InputError(
                f"{out}: not written, for its probabilities differ from PyTorch's by "
                f"{difference:.1e}, more than {TOLERANCE:.0e}"
            )
    return difference


def to_onnx(model: DBNet) -> Any:
    """`onnx.ModelProto` without metadata; `model` changes to eval mode."""
    onnx = optional("onnx")
    free = {0: "N", 2: "H", 3: "W"}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder, "network.onnx")
        # PyTorch's newer exporter needs onnxscript on top and gives no better graph here.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Predict(model).eval(),
            (torch.zeros(2, 3, 64, 96, dtype=torch.uint8),),
            file,
            dynamo=False,
            opset_version=_OPSET,
            input_names=["images"],
            output_names=["prob_map"],
            dynamic_axes={"images": free, "prob_map": free},
        )
        proto = onnx.load(file)
    onnx.checker.check_model(proto)
    return proto


class _Predict(nn.Module):
    """`DBNet.predict` as the forward pass, which is what gets exported."""

    def __init__(self, model: DBNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.predict(images)


@torch.inference_mode()
def largest_difference(model: DBNet, exported: OnnxNetwork) -> float:
    """Of the probabilities on drawn receipts, over CHECKED_SHAPES."""
    differences = []
    for shape in CHECKED_SHAPES:
        images = _receipts(*shape)
        expected = model.predict(torch.from_numpy(images)).numpy()
        differences.append(np.abs(expected - exported(images)).max())
    return float(np.max(differences))  # NaN stays NaN


def _receipts(count: int, height: int, width: int) -> np.ndarray:
    """uint8 (count, 3, height, width)."""
    drawn = [draw_receipt(np.random.default_rng(seed))[0] for seed in range(count)]
    resized = [cv2.resize(d, (width, height), interpolation=cv2.INTER_AREA) for d in drawn]
    return np.ascontiguousarray(np.stack(resized).transpose(0, 3, 1, 2))
