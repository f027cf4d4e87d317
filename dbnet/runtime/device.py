"""The device: selection, precision, seeds, memory."""

import os
import resource
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from dbnet.errors import InputError
from dbnet.runtime import distributed

P = TypeVar("P", bound=str)  # a precision; where it is a setting, one of its Literal values


def resolve_device(name: str) -> torch.device:
    """The device of this rank. "auto" is the first GPU, else Apple's GPU, else the CPU.

    Each rank has its own GPU. Several ranks cannot use Apple's: torch has no collectives for it.

    Raises:
        InputError: the device does not exist here, or cannot be shared by ranks.
    """
    several = distributed.world() > 1
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() and not several else "cpu"
    if several and name.startswith("mps"):
        raise InputError(f"device {name}: several ranks cannot use it; start it without torchrun")
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is not None and several:
            raise InputError(
                f"device {name}: each rank has a GPU of its own; give cuda, and choose the GPUs "
                "with CUDA_VISIBLE_DEVICES"
            )
        if device.type == "cuda" and several:
            device = torch.device("cuda", distributed.local_rank())
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"device {name}: not usable here ({first})") from None
    if device.type == "cuda":
        set_float32_precision()
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # events and synchronisation refer to the current device
    return device


def resolve_precision(name: P, device: torch.device) -> P | Literal["bf16", "fp32"]:
    """The precision: "auto" is bf16 where `device` computes in bf16 natively, else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # This function is not public yet. Without AVX512-BF16, bf16 is emulated and slower than fp32.
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if device.type == "cpu" and native() else "fp32"


def set_float32_precision() -> None:
    """Allow TF32 (10 bits of mantissa) for float32 convolutions and matrix products on a GPU.

    They are three to eight times as fast on Ampere and later. Earlier GPUs and CPUs have no TF32.
    """
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True


def describe_precision(precision: str, device: torch.device) -> str:
    """The precision in words. "fp32" mentions TF32 on GPUs that use it."""
    has_tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "fp32 (TF32 convolutions)" if precision == "fp32" and has_tf32 else precision


def wait_for(device: torch.device) -> Callable[[], None] | None:
    """A function that waits until the device has finished its queued work; None for the CPU."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else None


def autocast_dtype(precision: str) -> torch.dtype | None:
    """The dtype for torch.autocast; None for fp32, without autocast."""
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """torch.autocast with `dtype`; disabled for None."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def seed_everything(seed: int, *, deterministic: bool) -> None:
    """Seed torch and, with `deterministic`, allow only reproducible kernels.

    Data order and augmentation have their own seeds and do not depend on this.
    """
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic


def seed_other_ranks(seed: int, step: int) -> None:
    """Give ranks other than 0 random streams of their own, by (seed, rank, step done).

    Rank 0 has the stream of a single process. Checkpoints store this one.
    """
    if not distributed.is_main():
        stream = np.random.SeedSequence((seed, distributed.rank(), step))
        torch.manual_seed(int(stream.generate_state(1, np.uint64)[0]))


def rng_state() -> dict[str, list[torch.Tensor]]:
    """Torch's random state on the host and on every GPU; layers such as dropout draw from it."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": [torch.get_rng_state()], "cuda": gpus}


def set_rng_state(state: dict[str, list[torch.Tensor]]) -> None:
    """Restore what `rng_state` returned; the GPUs' states only if their number is the same."""
    torch.set_rng_state(state["cpu"][0])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def memory_figures(device: torch.device) -> dict[str, float]:
    """Peak resident memory of this process (GiB, and percent of the machine's memory), and the
    GPU's allocated, reserved and peak memory (GiB)."""
    # Linux counts ru_maxrss in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    figures = {"rss_peak_gb": peak / 2**30, "rss_peak_percent": 100 * peak / machine}
    if device.type == "cuda":
        figures["gpu_allocated_gb"] = torch.cuda.memory_allocated(device) / 2**30
        figures["gpu_reserved_gb"] = torch.cuda.memory_reserved(device) / 2**30
        figures["gpu_peak_gb"] = torch.cuda.max_memory_allocated(device) / 2**30
    if device.type == "mps":  # it records no peak
        figures["gpu_allocated_gb"] = torch.mps.current_allocated_memory() / 2**30
        figures["gpu_reserved_gb"] = torch.mps.driver_allocated_memory() / 2**30
        figures["gpu_peak_gb"] = figures["gpu_reserved_gb"]
    return figures
