"""Weights to a network that runs: which file, which runtime, which device, which precision."""

import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbnet.errors import InputError
from dbnet.inference.onnx import OnnxNetwork
from dbnet.inference.windows import Network
from dbnet.section import from_stored
from dbnet.settings import DataConfig, PostprocessConfig, TargetsConfig

if TYPE_CHECKING:  # torch is slow to import
    from dbnet.checkpoint import Checkpoint

# Of Linux: NVIDIA's and AMD's drivers, NVIDIA's embedded boards, and Windows' GPUs inside WSL.
_GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/nvhost-gpu", "/dev/dxg")


@dataclass(frozen=True)
class Trained:
    """Settings of the training that running the weights depends on."""

    image_size: int  # longest side at the network in pixels
    shrink_ratio: float  # r of the training shrink
    postprocess: PostprocessConfig


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that is ready to run."""

    network: Network
    trained: Trained
    description: str  # "FILE on cpu in fp32 by onnxruntime"


def load_network(
    weights: Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    provider: str = "auto",
    compiled: bool = False,
) -> LoadedNetwork:
    """The network of a checkpoint (.pt) or of an ONNX file (.onnx).

    A checkpoint runs in PyTorch. On the CPU in fp32, onnxruntime, if installed, runs FILE.onnx
    instead if it was exported from FILE.pt: it starts sooner and is faster. Probabilities agree to
    1e-4.

    Args:
        device: of a checkpoint: cpu, cuda, cuda:1, mps, or auto for the GPU where there is one.
        precision: of a checkpoint: fp32, bf16, fp16, or auto for bf16 where the device computes in
            it natively. An ONNX file has its own.
        provider: execution provider of onnxruntime, see `OnnxNetwork`.
        compiled: compile the network of a checkpoint (torch.compile).

    Raises:
        InputError: the file is missing or damaged; the device or provider does not exist here; a
            setting does not apply to this kind of file.
    """
    if weights.suffix.lower() == ".onnx":
        return _onnx(weights, device, precision, provider, compiled)
    if provider != "auto":
        raise InputError(f"{weights}: a provider is for .onnx files; choose a device instead")
    exported = weights.with_suffix(".onnx")
    may_replace = not compiled and _runs_on_cpu_in_fp32(device, precision)
    twin = _exported_from(weights, exported) if may_replace else None
    if twin is None:
        return _torch(weights, device, precision, compiled)
    return LoadedNetwork(twin, _trained(twin.settings, weights), _description(exported, twin))


def trained_settings(weights: Path) -> Trained:
    """The `Trained` settings of a checkpoint or an ONNX file.

    Raises:
        InputError: the file is missing or damaged, or lacks its settings.
    """
    if weights.suffix.lower() == ".onnx":
        return _trained(OnnxNetwork(path=weights, provider="cpu").settings, weights)
    if twin := _exported_from(weights, weights.with_suffix(".onnx")):
        return _trained(twin.settings, weights)
    from dbnet.checkpoint import load_checkpoint  # torch is slow to import, and may not be needed

    return _trained(checkpoint_settings(load_checkpoint(weights), weights), weights)


def checkpoint_settings(payload: "Checkpoint", path: Path) -> dict[str, Any]:
    """The settings of a checkpoint that its ONNX file needs; see `OnnxNetwork.settings`.

    Raises:
        InputError: the checkpoint lacks them.
    """
    try:
        config = payload["config"]
        return {
            "image_size": config["data"]["image_size"],
            "shrink_ratio": config["targets"]["shrink_ratio"],
            "postprocess": config["postprocess"],
        }
    except (KeyError, TypeError):
        raise InputError(
            f"{path}: lacks its settings; use a checkpoint that train.py wrote"
        ) from None


def sha256(path: Path) -> str:
    """Of a file's contents, hexadecimal; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _onnx(path: Path, device: str, precision: str, provider: str, compiled: bool) -> LoadedNetwork:
    network = OnnxNetwork(path=path, provider=provider)
    if device not in ("auto", "cpu"):
        raise InputError(f"device {device}: is for checkpoints; {path.name} takes a provider")
    if device == "cpu" and network.provider != "CPUExecutionProvider":
        network = OnnxNetwork(path=path, provider="cpu")
    if precision not in ("auto", network.precision):
        raise InputError(f"precision {precision}: {path.name} is in {network.precision}")
    if compiled:
        raise InputError(f"{path.name}: an ONNX file cannot be compiled")
    return LoadedNetwork(network, _trained(network.settings, path), _description(path, network))


def _torch(path: Path, device_name: str, precision: str, compiled: bool) -> LoadedNetwork:
    import torch

    from dbnet.checkpoint import build_model, load_checkpoint
    from dbnet.inference.torch_network import torch_network
    from dbnet.runtime.device import autocast_dtype, resolve_device, resolve_precision

    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise InputError(f"precision {precision}: must be auto, fp32, bf16 or fp16 for {path.name}")
    device = resolve_device(device_name)
    precision = resolve_precision(precision, device)
    payload = load_checkpoint(path)
    trained = _trained(checkpoint_settings(payload, path), path)
    with torch.random.fork_rng(devices=[]):  # random first weights leave the caller's numbers alone
        model = build_model(payload)
    network = torch_network(
        model, device=device, dtype=autocast_dtype(precision), compiled=compiled
    )
    return LoadedNetwork(network, trained, f"{path} on {device} in {precision} by PyTorch")


def _runs_on_cpu_in_fp32(device: str, precision: str) -> bool:
    """Whether "auto" or the given device and precision mean the CPU in fp32.

    PyTorch is imported only if the answer depends on it.
    """
    if device not in ("auto", "cpu") or precision not in ("auto", "fp32"):
        return False
    if device == "auto" and (
        sys.platform != "linux" or any(Path(name).exists() for name in _GPU_FILES)
    ):
        from dbnet.runtime.device import resolve_device

        if resolve_device("auto").type != "cpu":
            return False
    return precision == "fp32" or not _computes_in_bf16()


def _computes_in_bf16() -> bool:
    """Whether the processor computes in bf16 natively, as in `resolve_precision`."""
    flags = Path("/proc/cpuinfo")
    if flags.is_file():
        return "avx512_bf16" in flags.read_text(encoding="utf-8", errors="replace")
    import torch

    from dbnet.runtime.device import resolve_precision

    return resolve_precision("auto", torch.device("cpu")) == "bf16"


def _exported_from(checkpoint: Path, exported: Path) -> OnnxNetwork | None:
    """The network of the ONNX file, if it exists, runs, and was exported from this checkpoint."""
    if not exported.is_file() or importlib.util.find_spec("onnxruntime") is None:
        return None
    try:
        network = OnnxNetwork(path=exported, provider="cpu")
        same = network.checkpoint_sha256 == sha256(checkpoint)
    except (InputError, OSError):  # then PyTorch runs the checkpoint, or says what is wrong with it
        return None
    return network if same and network.precision == "fp32" else None


def _trained(settings: dict[str, Any], path: Path) -> Trained:
    """The settings as `Trained`, with ranges checked."""
    data = from_stored(DataConfig, {"image_size": settings["image_size"]}, path)
    targets = from_stored(TargetsConfig, {"shrink_ratio": settings["shrink_ratio"]}, path)
    postprocess = from_stored(PostprocessConfig, settings["postprocess"], path)
    return Trained(data.image_size, targets.shrink_ratio, postprocess)


def _description(path: Path, network: OnnxNetwork) -> str:
    provider = network.provider.removesuffix("ExecutionProvider")
    return f"{path} on {provider} in {network.precision} by onnxruntime"
