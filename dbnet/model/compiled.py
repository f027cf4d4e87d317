"""torch.compile for one batch size."""

import torch
from torch import Tensor, nn

from dbnet.structures import DBOutputs


class FullBatchesCompiled(nn.Module):
    """Compiles `model` for batches of `batch_size`; others, such as an epoch's last, run eagerly.

    Only one shape is compiled. This module shares its weights with `model`: save and evaluate
    `model`.
    """

    def __init__(self, *, model: nn.Module, batch_size: int) -> None:
        super().__init__()
        self.model = model
        self.batch_size = batch_size
        self._compiled = torch.compile(model.forward, dynamic=False)

    def forward(self, images: Tensor) -> DBOutputs:
        run = self._compiled if len(images) == self.batch_size else self.model
        return run(images)
