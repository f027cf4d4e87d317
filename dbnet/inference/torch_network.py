"""The network run by PyTorch."""

from collections.abc import Callable

import numpy as np
import torch

from dbnet.inference.windows import Network
from dbnet.model.dbnet import DBNet
from dbnet.model.fuse import fuse_batch_norms
from dbnet.runtime.device import autocast
from dbnet.structures import Batch, Detections


def torch_network(
    model: DBNet, *, device: torch.device, dtype: torch.dtype | None, compiled: bool
) -> Network:
    """The detector on `device`, as a copy with folded batch norms; `dtype` is that of autocast,
    None for full float32.

    Compiled, it takes a minute or so for each new shape it sees, and less time after it.
    """
    model = fuse_batch_norms(model).to(device)
    model = model.to(memory_format=torch.channels_last)
    predict = torch.compile(model.predict) if compiled else model.predict

    @torch.inference_mode()
    def network(images: np.ndarray) -> np.ndarray:
        if not images.flags.writeable:  # PyTorch warns of such arrays
            images = images.copy(order="K")
        with autocast(device, dtype):
            return predict(torch.from_numpy(images).to(device)).cpu().numpy()

    return network


@torch.inference_mode()
def predict_batch(
    model: DBNet,
    batch: Batch,
    *,
    postprocess: Callable[[np.ndarray], Detections],
    device: torch.device,
    dtype: torch.dtype | None,
) -> tuple[np.ndarray, list[Detections]]:
    """Probability maps, float32 (N, 1, H, W), and detections in the batch's pixels."""
    model.eval()
    with autocast(device, dtype):
        prob_maps = model.predict(batch.images.to(device)).cpu().numpy()
    return prob_maps, [postprocess(prob_map[0]) for prob_map in prob_maps]
