"""Resident memory stays flat over many validations."""

import os
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from configs import Config
from dbnet.data.annotations import scan as annotations
from dbnet.data.collate import Collate, drawn_maps
from dbnet.data.dataset import DetectionDataset
from dbnet.data.samples import load_sample
from dbnet.data.transforms import EvalTransform
from dbnet.data.workers import make_loader
from dbnet.metrics import build_metrics
from dbnet.model.dbnet import DBNet
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.runtime.profiler import StageTimer
from dbnet.training.engine import evaluate
from dbnet.training.losses import DBLoss
from tests.drawing import write_dataset

CFG = Config()


def resident() -> float:
    """MiB of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.faults("20 validations")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("workers", [0, 2])
def test_twenty_validations_need_the_memory_of_five(tmp_path, workers):
    root = write_dataset(tmp_path, train=1, val=6)
    records, _ = annotations.load_records(root, "val", format="ufo")
    loader = make_loader(
        DetectionDataset(
            records=records, load=load_sample, transform=EvalTransform(image_size=160), seed=0
        ),
        Collate(target_maps=partial(drawn_maps, targets=CFG.targets)),
        shuffle=False, batch_size=3, num_workers=workers, prefetch_factor=2,
        persistent_workers=True, pin_memory=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = DBNet(encoder="mobilenetv3_small_050", fpn_channels=16)
    postprocess = DBPostprocessor(CFG.postprocess, shrink_ratio=0.4)
    metrics = build_metrics(CFG.metric)
    open_files, after = [], []
    for _ in range(20):
        evaluate(
            model, DBLoss(CFG.loss), loader, postprocess, metrics,
            device=torch.device("cpu"), dtype=None, timer=StageTimer(synchronize=None),
        )  # fmt: skip
        after.append(resident())
        open_files.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - counts, not paths
    # It wavers by a few MiB; keeping each validation's images would add 0.5 MiB each time.
    assert min(after[15:]) - max(after[:5]) < 4, after
    assert max(open_files[5:]) <= max(open_files[:5]), open_files
