"""The network of an ONNX file, run by onnxruntime: it needs no PyTorch."""

import importlib
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dbnet.errors import InputError
from dbnet.runtime.workers import usable_cores

SETTINGS = ("image_size", "shrink_ratio", "postprocess")  # metadata of the file, as JSON
CHECKPOINT = "checkpoint_sha256"  # metadata: of the checkpoint that the file was made of
PRECISION = "precision"  # metadata: fp32, fp16 or int8; files without it are fp32

_SUFFIX = "ExecutionProvider"
# What "auto" takes, first to last. TensorRT and CoreML are taken only by name: TensorRT builds an
# engine for minutes at each new image shape, CoreML has no free shapes.
_AUTOMATIC = ("CUDA", "ROCM", "MIGraphX", "OpenVINO", "CPU")


class OnnxNetwork:
    """The network in a file of dbnet.export. Calls from several threads are safe.

    Args:
        path: the ONNX file.
        provider: execution provider of onnxruntime such as "cuda", "tensorrt", "openvino",
            "coreml" or "cpu", in any case, with or without "ExecutionProvider"; "auto": the first
            that is installed of CUDA, ROCm, MIGraphX, OpenVINO and the CPU.

    Attributes:
        settings: image_size in pixels, shrink_ratio, and postprocess, the fields of
            `PostprocessConfig`, as in the checkpoint it was made of.
        provider: the one that runs, such as "CUDAExecutionProvider".
        precision: "fp32", "fp16" or "int8".
        checkpoint_sha256: of the checkpoint, hexadecimal; None in files of earlier versions.

    Raises:
        InputError: the file is missing, damaged or not one of ours; onnxruntime is missing, or
            does not have the provider.
    """

    def __init__(self, *, path: Path, provider: str = "auto") -> None:
        onnxruntime = optional("onnxruntime")
        wanted = _provider(provider, onnxruntime.get_available_providers())
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _threads()
        providers = list(dict.fromkeys((wanted, f"CPU{_SUFFIX}")))
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=providers)
        except Exception as error:  # its exceptions share no base of their own
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: damaged or not an ONNX file ({reason})") from None
        self.provider = self._session.get_providers()[0]
        if provider.lower() != "auto" and self.provider != wanted:
            raise InputError(
                f"{wanted}: does not start on this machine, onnxruntime's lines above say why; "
                "use another provider"
            )
        metadata = self._session.get_modelmeta().custom_metadata_map
        missing = [name for name in SETTINGS if name not in metadata]
        if missing:
            raise InputError(f"{path}: lacks {missing[0]}; write it with python -m dbnet.export")
        self.settings: dict[str, Any] = {name: json.loads(metadata[name]) for name in SETTINGS}
        self.precision: str = json.loads(metadata.get(PRECISION, '"fp32"'))
        self.checkpoint_sha256: str | None = json.loads(metadata.get(CHECKPOINT, "null"))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 3, H, W) RGB, H and W multiples of 32 -> P, float32 (N, 1, H, W), 0..1."""
        return self._session.run(["prob_map"], {"images": np.ascontiguousarray(images)})[0]


def _provider(name: str, installed: list[str]) -> str:
    """The full name of an execution provider that is installed."""
    by_name = {full.removesuffix(_SUFFIX).lower(): full for full in installed}
    if name.lower() == "auto":
        return next(by_name[n.lower()] for n in _AUTOMATIC if n.lower() in by_name)
    short = name.lower().removesuffix(_SUFFIX.lower())
    if short not in by_name:
        raise InputError(
            f"execution provider {name}: not in the installed onnxruntime, which has "
            f"{', '.join(sorted(by_name))}"
        )
    return by_name[short]


def _threads() -> int:
    """The number of threads that PyTorch would use: OMP_NUM_THREADS, or the usable cores."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdigit() and int(named) > 0:
        return int(named)
    return usable_cores()


def set_metadata(proto: Any, values: dict[str, Any]) -> None:
    """Give an `onnx.ModelProto` these values as its metadata, as JSON, in place of what it has."""
    helper = optional("onnx.helper")
    del proto.metadata_props[:]
    helper.set_model_props(proto, {name: json.dumps(value) for name, value in values.items()})


def optional(name: str) -> ModuleType:
    """A package, or a module of one, that only ONNX files need.

    Raises:
        InputError: it, or a package that it needs, is not installed; says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        needed = "onnx onnxruntime" if missing.startswith("onnx") else f"onnx onnxruntime {missing}"
        raise InputError(f"{missing} is not installed: pip install {needed}") from None
