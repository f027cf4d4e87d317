"""The network of an ONNX file, run by onnxruntime: it needs no PyTorch."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dbnet.errors import InputError

SETTINGS = ("image_size", "shrink_ratio", "postprocess")  # metadata of the file, as JSON


class OnnxNetwork:
    """What dbnet.export wrote, on the processor.

    Args:
        path: the ONNX file.

    Attributes:
        settings: image_size in pixels, shrink_ratio, and postprocess, the arguments of
            `DBPostprocessor` but for shrink_ratio, as in the checkpoint it was made of.

    Raises:
        ValueError: the file is missing, damaged or not one of ours; onnxruntime is missing.
    """

    def __init__(self, *, path: Path) -> None:
        onnxruntime = optional("onnxruntime")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        try:
            self._session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base of their own
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: damaged or not an ONNX file ({reason})") from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        missing = [name for name in SETTINGS if name not in metadata]
        if missing:
            raise InputError(f"{path}: lacks {missing[0]}; write it with python -m dbnet.export")
        self.settings: dict[str, Any] = {name: json.loads(metadata[name]) for name in SETTINGS}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 3, H, W) RGB, H and W multiples of 32 -> P, float32 (N, 1, H, W), 0..1."""
        return self._session.run(["prob_map"], {"images": np.ascontiguousarray(images)})[0]


def optional(name: str) -> ModuleType:
    """A package that only ONNX files need.

    Raises:
        ValueError: it is not installed; says how to.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise InputError(f"{name} is not installed: pip install onnx onnxruntime") from None
