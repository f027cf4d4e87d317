"""Shapes, precision, the two routes to a probability map, encoders by name."""

import pytest
import torch

from dbnet.errors import InputError
from dbnet.model.backbone import stages_of, sync_batchnorm
from dbnet.model.dbnet import DBNet
from dbnet.model.head import MapBranch


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return DBNet(encoder="mobilenetv3_small_050", fpn_channels=32).eval()


def images(n: int = 2, height: int = 64, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


def test_resnet18_has_the_paper_s_shape():
    model = DBNet(encoder="resnet18", fpn_channels=256)
    assert model.encoder.channels == [64, 128, 256, 512]
    assert model.features(images()).shape == (2, 256, 16, 24)
    outputs = model(images())
    assert outputs.prob_logits.shape == outputs.thresh_logits.shape == (2, 1, 64, 96)


def test_predict_is_the_sigmoid_of_forward(model):
    with torch.inference_mode():
        expected = model(images()).prob_logits.sigmoid()
        assert torch.equal(model.predict(images()), expected)


def test_batched_equals_single(model):
    with torch.inference_mode():
        together = model.predict(images())
        alone = torch.cat([model.predict(image[None]) for image in images()])
    assert torch.allclose(together, alone, atol=1e-5)


def test_normalisation_is_imagenet_s(model):
    gray = torch.full((1, 3, 64, 64), 124, dtype=torch.uint8)
    seen = []
    hook = model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.inference_mode():
        model(gray)
    hook.remove()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(seen[0][0, :, 0, 0], (124 / 255 - mean) / std, atol=1e-5)


def test_doubling_equals_a_transposed_convolution():
    torch.manual_seed(1)
    conv, shuffle = MapBranch(in_channels=32).upscale[:2]
    torch.nn.init.zeros_(conv.bias)
    x = torch.randn(2, 8, 5, 7)
    weight = conv.weight.view(8, 2, 2, 8).permute(3, 0, 1, 2)  # (in, out, 2, 2)
    expected = torch.conv_transpose2d(x, weight, stride=2)
    assert torch.allclose(shuffle(conv(x)), expected, atol=1e-5)


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenetv3_small_050"])
def test_recomputing_the_encoder_changes_memory_only(encoder):
    """Same loss, gradients and running statistics; fewer activations kept for the backward pass."""
    results, kept = [], []
    for recompute in (False, True):
        torch.manual_seed(5)
        model = DBNet(encoder=encoder, fpn_channels=32).train()
        model.encoder.recompute = recompute
        sizes = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.nbytes) or x, lambda x: x
        )
        with hooks:
            loss = sum((maps**2).mean() for maps in model(images()))
        kept.append(sum(sizes))
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        results.append({"loss": loss.detach(), **gradients, **dict(model.named_buffers())})
    plain, recomputed = results
    assert plain.keys() == recomputed.keys()
    assert all(torch.equal(plain[name], recomputed[name]) for name in plain)
    assert any("num_batches_tracked" in name for name in plain)
    assert kept[1] < 0.7 * kept[0]


def test_an_unknown_encoder_is_named_with_its_neighbours():
    with pytest.raises(ValueError, match="resnet17"):
        DBNet(encoder="resnet17", fpn_channels=32)


@pytest.mark.parametrize("name", ["resnet999", "ResNet50", "resnet-50"])
def test_a_mistyped_encoder_suggests_those_of_timm(name):
    with pytest.raises(InputError, match=rf"--model\.encoder {name}: .*did you mean .*resnet50"):
        stages_of(name)


def test_an_encoder_without_feature_maps_is_refused():
    with pytest.raises(ValueError, match="vit_tiny_patch16_224"):
        DBNet(encoder="vit_tiny_patch16_224", fpn_channels=32)


def test_other_encoders_work_by_name():
    for name in ("mobilenetv3_small_050", "convnext_atto", "efficientnet_lite0"):
        model = DBNet(encoder=name, fpn_channels=32).eval()
        assert model(images(1, 64, 64)).prob_logits.shape == (1, 1, 64, 64)


def test_synchronised_norms_without_a_gpu_are_refused(model):
    with pytest.raises(InputError, match=r"--train\.sync-batchnorm: needs GPUs, this is cpu"):
        sync_batchnorm(model, torch.device("cpu"))
