"""ONNX files in fewer bits: float16, and int8 calibrated on images."""

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dbnet.data.images import decode_reduced
from dbnet.errors import InputError
from dbnet.inference.inputs import find_images
from dbnet.inference.onnx import CHECKPOINT, PRECISION, OnnxNetwork, optional, set_metadata
from dbnet.inference.pipeline import fitted

Lower = Literal["fp16", "int8"]
CALIBRATION_IMAGES = 32  # at most; the ranges of activations hardly change with more


def check_tools(precision: Lower) -> None:
    """Raise InputError where the packages that `lower` needs are not installed."""
    _float16() if precision == "fp16" else _quantization()


def calibration_images(folder: Path) -> list[Path]:
    """The images below a folder: all, or CALIBRATION_IMAGES spread evenly over their names.

    Raises:
        InputError: the folder is not there, or holds no image.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; name one of images: --calibrate DIR")
    found = [source.path for source in find_images([str(folder)])]
    chosen = np.linspace(0, len(found) - 1, min(len(found), CALIBRATION_IMAGES)).round()
    return [found[int(index)] for index in chosen]


def lower(fp32: Path, out: Path, precision: Lower, calibration: Sequence[Path]) -> None:
    """Write an ONNX file of dbnet.export in fewer bits; input and output keep their types.

    float16: weights and activations. int8: weights per output channel, activations by the smallest
    and largest value that they have on the calibration images; weights take 7 bits, for 8 overflow
    on processors without VNNI.

    Args:
        fp32: the file in float32.
        out: is overwritten.
        calibration: images for int8, fitted as for detection.

    Raises:
        InputError: a package is not installed, or an image cannot be read.
    """
    onnx = optional("onnx")
    proto = onnx.load(fp32)
    network = OnnxNetwork(path=fp32, provider="cpu")
    if precision == "fp16":
        proto = _float16().convert_float_to_float16(proto, keep_io_types=True)
    else:
        proto = _int8(fp32, _network_inputs(calibration, network.settings["image_size"]))
    described = {CHECKPOINT: network.checkpoint_sha256, PRECISION: precision}
    set_metadata(proto, network.settings | described)
    onnx.save(proto, out)


def _network_inputs(paths: Sequence[Path], image_size: int) -> Iterator[np.ndarray]:
    """uint8 (1, 3, H, W) of each image."""
    for path in paths:
        image = fitted(partial(decode_reduced, path), image_size).image
        yield np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def _int8(fp32: Path, inputs: Iterator[np.ndarray]) -> Any:
    """`onnx.ModelProto` with quantize and dequantize nodes around each operator."""
    tools, shapes = _quantization()

    class Reader:  # of the interface CalibrationDataReader
        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(inputs, None)
            return None if image is None else {"images": image}

    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
        # Heights and widths are free: the symbolic pass has nothing to find.
        shapes.quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        tools.quantize_static(
            str(prepared),
            str(quantized),
            Reader(),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            calibrate_method=tools.CalibrationMethod.MinMax,
        )
        return optional("onnx").load(quantized)


def _float16() -> Any:
    return optional("onnxruntime.transformers.float16")


def _quantization() -> tuple[Any, Any]:
    return optional("onnxruntime.quantization"), optional(
        "onnxruntime.quantization.shape_inference"
    )
