"""Encoders from timm. Only dbnet/model imports timm: loader workers need not load it."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from typing import Any, cast

import huggingface_hub
import timm
import torch
from timm.layers import convert_sync_batchnorm
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from dbnet.errors import InputError
from dbnet.model.names import unknown

STRIDES = (4, 8, 16, 32)
_HUB_TIMEOUT_S = 4.0


class Encoder(nn.Module):
    """Feature maps of a timm model at strides 4, 8, 16 and 32.

    With `recompute` on, training does not store the encoder's activations: the backward pass runs
    the encoder again (gradient checkpointing). This takes less memory and more time. The weights
    come out the same.

    Args:
        name: timm model name, such as "resnet18" or "mobilenetv3_small_050".

    Raises:
        InputError: timm does not know the name, or the model lacks one of the strides.
    """

    def __init__(self, *, name: str) -> None:
        super().__init__()
        self.body = _feature_extractor(name, out_indices=stages_of(name))
        self.channels = _feature_info(self.body).channels()
        self.recompute = False

    def forward(self, x: Tensor) -> list[Tensor]:  # (N, 3, H, W)
        """4 x (N, C_i, H / stride, W / stride)."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return self.body(x)
        if torch.compiler.is_compiling():  # it updates running statistics only once
            return checkpoint(self.body, x, use_reentrant=False)
        contexts = partial(_first_and_second_run, self.body)
        return checkpoint(self.body, x, use_reentrant=False, context_fn=contexts)


@cache  # the forward pass without weights takes longer than building the network
def stages_of(name: str) -> tuple[int, ...]:
    """Indices of timm's feature maps at STRIDES; allocates no weights.

    Raises:
        InputError: as `Encoder`.
    """
    if not timm.is_model(name):
        raise unknown(name, timm.list_models())
    try:
        with torch.device("meta"):  # no weights: only strides and output sizes are needed
            probe = _feature_extractor(name)
            sizes = [x.shape for x in probe(torch.empty(1, 3, 96, 160))]
    except Exception as error:  # the exception type differs between models
        raise InputError(f"--model.encoder {name}: gives no feature maps ({error})") from None
    info = _feature_info(probe)
    reductions = info.reduction()
    expected = [
        (1, c, 96 // stride, 160 // stride)
        for c, stride in zip(info.channels(), reductions, strict=True)
    ]
    if [tuple(size) for size in sizes] != expected:
        raise InputError(f"--model.encoder {name}: its maps are not (N, C, H, W) by stride")
    if not set(STRIDES) <= set(reductions):
        raise InputError(
            f"--model.encoder {name}: has strides {reductions}, needs {list(STRIDES)}; "
            "choose a convolutional encoder"
        )
    # Of several stages with one stride the last has the largest receptive field.
    last = {stride: index for index, stride in enumerate(reductions)}
    return tuple(last[stride] for stride in STRIDES)


def _feature_extractor(name: str, **options: Any) -> nn.Module:
    """timm's model that returns the feature maps of its stages; `feature_info` describes them."""
    return timm.create_model(name, features_only=True, **options)


def _feature_info(extractor: nn.Module) -> FeatureInfo:
    return cast(FeatureInfo, extractor.feature_info)


def _first_and_second_run(
    module: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _frozen_statistics(module)


@contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Within the block, batch norms compute as in training and do not change running statistics."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    earlier = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, tracked) in zip(norms, earlier, strict=True):
        norm.momentum = 0.0
        norm.num_batches_tracked = None if tracked is None else tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, earlier, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked


def sync_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` with batch norms whose statistics are those of all ranks; the weights do not change.

    Raises:
        InputError: the device is not a GPU; torch synchronises batch norms on GPUs only.
    """
    if device.type != "cuda":
        raise InputError(f"--train.sync-batchnorm: needs GPUs, this is {device}; leave it out")
    return convert_sync_batchnorm(model)


def load_imagenet(encoder: Encoder, name: str) -> str | None:
    """Load timm's ImageNet weights into `encoder`.

    Weights that are not cached are downloaded; the hub must answer within a few seconds. Returns
    None on success, else the reason why the encoder was not changed.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or config.url):
        return f"timm has no pretrained weights for {name}"
    cached = config.hf_hub_id and isinstance(
        huggingface_hub.try_to_load_from_cache(config.hf_hub_id, "model.safetensors"), str
    )
    if not cached:
        address = huggingface_hub.constants.ENDPOINT if config.hf_hub_id else str(config.url)
        try:
            request = urllib.request.Request(address, method="HEAD")
            urllib.request.urlopen(request, timeout=_HUB_TIMEOUT_S).close()
        except urllib.error.HTTPError:
            pass  # it answered: reachable
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            return f"{address}: {getattr(reason, 'strerror', None) or reason}"
    try:
        indices = _feature_info(encoder.body).out_indices
        source = _feature_extractor(name, pretrained=True, out_indices=indices)
    except Exception as error:  # the hub's client raises many types of its own
        return f"download of {name} failed ({error})"
    encoder.body.load_state_dict(source.state_dict())
    return None
