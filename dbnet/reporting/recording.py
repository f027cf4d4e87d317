"""Recording of a run for its profile: memory over the images, slow images, facts of the machine."""

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from dbnet.data.images import image_size
from dbnet.runtime.workers import usable_cores
from dbnet.structures import ImageResult

_SLOWEST = 5


class Recording:
    """Called with the result of every image of a validation."""

    def __init__(self) -> None:
        self.started = time.time()
        self.images: list[dict[str, Any]] = []

    def __call__(self, result: ImageResult) -> None:
        self.images.append(
            {
                "image_id": result.image_id,
                "seconds": result.seconds,
                "detections": len(result.detections.polygons),
                "own_mb": own_mb(),
                "at": time.time(),
            }
        )

    def series(self, batch_size: int) -> dict[str, list[Any]]:
        """Per batch: own memory in MB, its end in seconds since 1970, names of its images."""
        batches = [
            self.images[start : start + batch_size]
            for start in range(0, len(self.images), batch_size)
        ]
        return {
            "own_mb": [batch[-1]["own_mb"] for batch in batches],
            "_timestamp": [batch[-1]["at"] for batch in batches],
            "image_ids": [[image["image_id"] for image in batch] for batch in batches],
        }

    def times(self) -> dict[str, float]:
        """Start of the validation in seconds since 1970, and seconds since then."""
        return {"_timestamp": self.started, "_runtime": time.time() - self.started}

    def slowest(self, records: Any) -> list[dict[str, Any]]:
        """The images with the slowest post-process, with their texts and size (height, width)."""
        found = sorted(self.images, key=lambda image: -image["seconds"])[:_SLOWEST]
        wanted = {image["image_id"] for image in found}
        facts = {
            r.image_id: {"texts": len(r.polygons), "size": list(image_size(r.image_path))}
            for r in records
            if r.image_id in wanted
        }
        keys = ("image_id", "seconds", "detections")
        return [{key: image[key] for key in keys} | facts[image["image_id"]] for image in found]


def own_mb() -> float:
    """Resident memory of this process alone in MB; 0 if the system does not report it.

    Mapped pages of files are not counted: those of a cache become resident when it is read, and the
    kernel drops them when memory is short.
    """
    try:
        resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    except OSError:
        return 0.0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6


def machine_facts(device: torch.device) -> dict[str, Any]:
    """Device, processor, threads and versions: facts that two compared profiles should share."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device_type": device.type,
        "device_name": name,
        "cpu": _processor(),
        "cores": usable_cores(),
        "physical_cores": physical_cores(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "python": platform.python_version(),
        "host": platform.node(),
    }


def physical_cores() -> int:
    """Number of usable physical cores: hyper-threads of one core count once."""
    folder = Path("/sys/devices/system/cpu")
    try:
        usable = os.sched_getaffinity(0)
        lists = {
            (folder / f"cpu{number}/topology/thread_siblings_list").read_text() for number in usable
        }
    except (OSError, AttributeError):
        return usable_cores()
    return len(lists)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str | None:
    """The commit of the code, with "+" if files were changed; None without a repository."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
