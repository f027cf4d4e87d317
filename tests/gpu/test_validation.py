"""Validation on a GPU: downloads, scoring processes, timings, memory."""

import time

import pytest
import torch

from dbnet.data.loaders import val_loader
from dbnet.data.splits import load_records
from dbnet.metrics import build_metrics
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.runtime.device import describe_precision, memory_figures, resolve_device, wait_for
from dbnet.runtime.profiler import StageTimer
from dbnet.settings import DataConfig, LossConfig, MetricConfig, PostprocessConfig, TargetsConfig
from dbnet.training.engine import evaluate
from dbnet.training.losses import DBLoss
from dbnet.training.predictions import start_download
from dbnet.training.scoring_pool import ScoringPool
from tests.networks import with_random_statistics


@pytest.fixture
def parts(pages, tmp_path):
    """Five images in batches of two: the last batch is smaller."""
    data = DataConfig(
        root=pages, image_size=96, batch_size=2, num_workers=2, cache_dir=tmp_path / "cache"
    )
    loader = val_loader(load_records(data, ["val"])["val"], data, TargetsConfig())
    postprocess = DBPostprocessor(PostprocessConfig(), shrink_ratio=0.4)
    return loader, postprocess, build_metrics(MetricConfig())


def validated(parts, device, *, dtype=None, workers=0):
    loader, postprocess, metrics = parts
    model = with_random_statistics("mobilenetv3_small_050").to(
        device, memory_format=torch.channels_last
    )
    options = {"device": device, "dtype": dtype, "timer": StageTimer(synchronize=None)}
    images = []
    arguments = (model, DBLoss(LossConfig()).to(device), loader, postprocess, metrics)
    if not workers:
        return evaluate(*arguments, **options, on_image=images.append), images
    with ScoringPool(postprocess, metrics, workers=workers, device=device) as pool:
        return evaluate(*arguments, **options, pool=pool, on_image=images.append), images


def test_validation_follows_that_of_the_cpu(parts, device):
    expected, _ = validated(parts, torch.device("cpu"))
    figures, images = validated(parts, device)
    assert [image.image_id for image in images] == [f"page_{n}.png" for n in range(5)]
    assert figures["images"] == expected["images"] == 5
    assert figures["loss/total"] == pytest.approx(expected["loss/total"], rel=0.02)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_scoring_processes_change_nothing(parts, device, dtype):
    expected, _ = validated(parts, device, dtype=dtype)
    figures, _ = validated(parts, device, dtype=dtype, workers=2)
    names = [name for name in expected if not name.startswith("loss/")]
    assert {name: figures[name] for name in names} == {name: expected[name] for name in names}


def test_a_download_gives_what_the_device_had(device):
    tensor = torch.rand(3, 1, 64, 64, device=device)
    wait = start_download(tensor)
    tensor = tensor.clone() + 1  # the memory may be used again
    host = wait()
    assert host.device.type == "cpu"
    assert torch.equal(host + 1, tensor.cpu())


def test_downloads_to_shared_memory_are_asynchronous(cuda):
    pool = ScoringPool(lambda _: None, {}, workers=1, device=cuda)
    pool._start()
    host = pool.host_maps((8, 1, 640, 640))
    values = torch.rand(8, 1, 640, 640, device=cuda)
    torch.cuda._sleep(2_000_000_000)  # about a second of the device's time
    started = time.perf_counter()
    wait = start_download(values, host)
    assert time.perf_counter() - started < 0.5
    assert torch.equal(wait(), values.cpu())
    pool.close()


def test_a_synchronised_stage_holds_its_device_time(cuda):
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    timer = StageTimer(synchronize=wait_for(cuda))
    with timer("sleep"):
        started.record()
        torch.cuda._sleep(100_000_000)
        ended.record()
    assert 1000 * timer.durations["sleep"][0] >= started.elapsed_time(ended)


def test_memory_figures_rise_with_what_is_allocated(cuda):
    before = memory_figures(cuda)
    kept = torch.zeros(2**28, dtype=torch.uint8, device=cuda)
    after = memory_figures(cuda)
    grown = after["gpu_allocated_gb"] - before["gpu_allocated_gb"]
    assert grown == pytest.approx(0.25, abs=0.01) and len(kept)
    assert after["gpu_peak_gb"] >= after["gpu_allocated_gb"]
    assert after["gpu_reserved_gb"] >= after["gpu_allocated_gb"]


def test_tf32_is_set_and_said(cuda):
    resolve_device("cuda")
    assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
    ampere = torch.cuda.get_device_capability(cuda) >= (8, 0)
    assert ("TF32" in describe_precision("fp32", cuda)) == ampere
    assert describe_precision("bf16", cuda) == "bf16"
