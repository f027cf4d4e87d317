"""A released checkpoint is the same detector, smaller, without data about its machine."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from configs import Config, TrainConfig
from dbnet import release
from dbnet.checkpoint import build_model, load_checkpoint, save_checkpoint
from dbnet.data.transforms import letterbox
from dbnet.errors import InputError
from dbnet.metrics import build_metrics
from dbnet.postprocess.frames import to_original
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.release import ReleaseConfig
from dbnet.section import from_dict, to_dict
from dbnet.settings import DataConfig, PostprocessConfig
from dbnet.synthetic.dataset import draw_receipt
from tests.networks import with_random_statistics

WEIGHTS = Path(__file__).parents[2] / "weights"
CONFIG = Config(
    data=DataConfig(root=Path("/home/somebody/scans"), image_size=320, drawn_level="lines"),
    train=TrainConfig(out=Path("/home/somebody/runs"), name="secret"),
    postprocess=PostprocessConfig(box_thresh=0.4),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "best.pt"
    model = with_random_statistics("mobilenetv3_small_050")
    model.fpn.lateral[0].weight.data[0] = 1e-3  # not a number of half precision
    model.head.prob.smooth[1].running_var[0] = 1e6  # beyond half precision
    payload = {
        "model_args": {"encoder": "mobilenetv3_small_050", "fpn_channels": 32},
        "model": {name: torch.zeros_like(t) for name, t in model.state_dict().items()},
        "ema": model.state_dict(),
        "config": to_dict(CONFIG),
        "epoch": 7,
    }
    save_checkpoint(path, payload)
    return path


@torch.inference_mode()
def test_the_averaged_weights_are_released_and_predict_the_same(trained, tmp_path):
    out = tmp_path / "small.pt"
    release.main(ReleaseConfig(trained, out))
    assert out.stat().st_size < 0.4 * trained.stat().st_size
    before, after = build_model(load_checkpoint(trained)), build_model(load_checkpoint(out))
    for name, tensor in before.state_dict().items():
        expected = tensor.half().to(tensor.dtype) if tensor.ndim == 4 else tensor
        assert torch.equal(after.state_dict()[name], expected), name
    images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    difference = before.eval().predict(images) - after.eval().predict(images)
    assert 0 < difference.abs().max() < 5e-3


def test_a_release_has_settings_but_no_names_of_the_machine(trained, tmp_path):
    out = tmp_path / "small.pt"
    release.main(ReleaseConfig(trained, out))
    kept = from_dict(Config, load_checkpoint(out)["config"])
    assert kept == Config(
        data=DataConfig(image_size=320, drawn_level="lines"), postprocess=CONFIG.postprocess
    )
    assert b"somebody" in trained.read_bytes()
    assert not any(word in out.read_bytes() for word in (b"somebody", b"secret"))


def test_a_file_that_is_there_stays(trained, tmp_path):
    out = tmp_path / "small.pt"
    out.write_bytes(b"precious")
    with pytest.raises(InputError, match="is there already"):
        release.main(ReleaseConfig(trained, out))
    assert out.read_bytes() == b"precious"


def test_a_name_too_long_for_a_file_is_one_line(tmp_path):
    words = ["--checkpoint", "none.pt", "--out", "n" * 300]
    done = subprocess.run(
        [sys.executable, "-m", "dbnet.release", *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr == f"python -m dbnet.release: {'n' * 300}: File name too long\n"


def test_a_checkpoint_without_settings_is_refused(trained, tmp_path):
    bare = tmp_path / "bare.pt"
    payload = load_checkpoint(trained)
    save_checkpoint(bare, {name: payload[name] for name in ("model_args", "model", "ema")})
    with pytest.raises(InputError, match=r"bare\.pt: lacks its settings"):
        release.main(ReleaseConfig(bare, tmp_path / "small.pt"))
    assert not (tmp_path / "small.pt").exists()


@torch.inference_mode()
@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.pt")), ids=lambda path: path.stem)
def test_the_weights_of_the_repository_read_receipts(path):
    payload = load_checkpoint(path)
    cfg = from_dict(Config, payload["config"])
    model = build_model(payload).eval()
    postprocess = DBPostprocessor(cfg.postprocess, shrink_ratio=cfg.targets.shrink_ratio)
    metric = build_metrics(cfg.metric)["cleval"]
    for seed in (3, 4):
        image, quads, texts = draw_receipt(np.random.default_rng(seed), level=cfg.data.drawn_level)
        matrix = letterbox(image.shape[:2], cfg.data.image_size)
        size = (cfg.data.image_size, cfg.data.image_size)
        canvas = cv2.warpAffine(image, matrix[:2], size, flags=cv2.INTER_AREA)
        prob_map = model.predict(torch.from_numpy(canvas.transpose(2, 0, 1)[None]))[0, 0].numpy()
        found = to_original(postprocess(prob_map), matrix, image.shape[:2])
        metric.update(found.polygons, quads, [False] * len(quads), texts)
    assert metric.compute()["hmean"] > 0.95
