"""Folds batch norms into the convolutions before them, for inference."""

import copy
from collections import Counter
from itertools import pairwise

from timm.layers import BatchNormAct2d
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dbnet.model.dbnet import DBNet


def fuse_batch_norms(model: DBNet) -> DBNet:
    """A copy in eval mode with fewer operations and the same results; it cannot be trained.

    A batch norm is folded if nothing else reads the output of the convolution before it. A
    PixelShuffle may lie between the two. Other batch norms are left as they are, and so are all
    batch norms of an encoder that torch.fx cannot trace.
    """
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    for part in (fused.encoder, fused.head):
        _fold(part)
    return fused


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        is_leaf = isinstance(module, (nn.Conv2d, nn.BatchNorm2d))
        return is_leaf or super().is_leaf_module(module, name)


def _fold(part: nn.Module) -> None:
    """Change `part` in place. The trace shows which module reads which; it is not executed."""
    try:
        nodes = _Tracer().trace(part).nodes
    except Exception:  # models with control flow that depends on values; many types
        return
    modules = dict(part.named_modules())
    uses = Counter(node.target for node in nodes if node.op == "call_module")
    uses.update(node.target.rpartition(".")[0] for node in nodes if node.op == "get_attr")
    for node in nodes:
        chain = [node]  # from the batch norm back to its convolution
        while len(chain) < 3 and chain[-1].op == "call_module" and chain[-1].all_input_nodes:
            chain.append(chain[-1].all_input_nodes[0])
            if _kind(chain[-1], modules) is nn.Conv2d:
                break
        kinds = [_kind(n, modules) for n in chain]
        if kinds[0] not in (nn.BatchNorm2d, BatchNormAct2d) or kinds[-1] is not nn.Conv2d:
            continue
        if kinds[1:-1] not in ([], [nn.PixelShuffle]):
            continue
        alone = all(list(early.users) == [late] for late, early in pairwise(chain))
        members = [modules[n.target] for n in chain]
        hooked = any(m._forward_hooks or m._forward_pre_hooks for m in members)
        if not alone or hooked or any(uses[n.target] > 1 for n in chain):
            continue
        norm, *shuffle, conv = members
        if norm.running_mean is None:
            continue
        _absorb(conv, norm, copies=shuffle[0].upscale_factor ** 2 if shuffle else 1)
        rest = nn.Sequential(norm.drop, norm.act) if kinds[0] is BatchNormAct2d else nn.Identity()
        part.set_submodule(node.target, rest)


def _kind(node: fx.Node, modules: dict[str, nn.Module]) -> type | None:
    """Exact type of the called module: a subclass may compute something else."""
    return type(modules[str(node.target)]) if node.op == "call_module" else None


def _absorb(conv: nn.Conv2d, norm: nn.BatchNorm2d, *, copies: int) -> None:
    """Fold `norm` into `conv`. Each channel of `norm` is `copies` successive channels of `conv`."""
    assert norm.running_mean is not None and norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean.repeat_interleave(copies),
        norm.running_var.repeat_interleave(copies),
        norm.eps,
        None if norm.weight is None else norm.weight.repeat_interleave(copies),
        None if norm.bias is None else norm.bias.repeat_interleave(copies),
    )
