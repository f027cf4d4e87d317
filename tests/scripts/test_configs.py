"""Settings: defaults, contradictions, JSON round trip, one section per constructor."""

import dataclasses
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import configs
from configs import Config, TrainConfig
from dbnet import settings
from dbnet.data.transforms import TrainTransform
from dbnet.metrics.cleval import CLEval
from dbnet.metrics.iou import IoUMetric
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.section import from_dict, to_dict
from dbnet.settings import AugmentConfig, CLEvalConfig, DataConfig, OptimConfig
from dbnet.training.losses import DBLoss
from dbnet.training.optim import build_optimizer

# Constructor -> its section, and what it is given besides.
CONSTRUCTORS = {
    DBLoss: (settings.LossConfig, set()),
    DBPostprocessor: (settings.PostprocessConfig, {"shrink_ratio"}),
    CLEval: (settings.CLEvalConfig, set()),
    IoUMetric: (settings.IoUConfig, set()),
    TrainTransform: (AugmentConfig, {"image_size"}),
    build_optimizer: (OptimConfig, {"model", "steps_per_epoch", "epochs", "max_steps"}),
}


@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_a_constructor_takes_its_section_and_uses_all_of_it(constructor):
    section, besides = CONSTRUCTORS[constructor]
    parameters = inspect.signature(constructor).parameters
    (name,) = set(parameters) - besides
    assert parameters[name].annotation in (section, section.__name__)
    for parameter in parameters.values():
        assert parameter.default is inspect.Parameter.empty, "defaults live in settings.py"
    used = set(re.findall(rf"{name}\.(\w+)", inspect.getsource(constructor)))
    assert used == {f.name for f in dataclasses.fields(section)}


def test_settings_come_back_from_json():
    cfg = Config(
        data=DataConfig(root=Path("receipts"), batch_size=3),
        augment=AugmentConfig(scale=(0.5, 2.0)),
        train=TrainConfig(resume=Path("runs/a")),
    )
    assert from_dict(Config, json.loads(json.dumps(to_dict(cfg)))) == cfg


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match="batchsize"):
        from_dict(Config, {"data": {"batchsize": 3}})


@pytest.mark.parametrize(
    ("section", "values", "flag"),
    [
        (DataConfig, {"image_size": 650}, "--data.image-size 650"),
        (DataConfig, {"train_size": 100}, "--data.train-size 100"),
        (DataConfig, {"batch_size": 0}, "--data.batch-size 0"),
        (AugmentConfig, {"flip": 1.5}, "--augment.flip 1.5"),
        (AugmentConfig, {"scale": (2.0, 1.0)}, "--augment.scale 2.0 1.0"),
        (AugmentConfig, {"stretch": (1.2, 0.9)}, "--augment.stretch 1.2 0.9"),
        (AugmentConfig, {"jpeg_quality": (60, 15)}, "--augment.jpeg-quality 60 15"),
        (AugmentConfig, {"show_through": 2.0}, "--augment.show-through 2.0"),
        (settings.TargetsConfig, {"shrink_ratio": 1.0}, "--targets.shrink-ratio 1.0"),
        (settings.TargetsConfig, {"thresh_min": 0.8}, "--targets.thresh-min"),
        (settings.ModelConfig, {"fpn_channels": 30}, "--model.fpn-channels 30"),
        (settings.LossConfig, {"eps": 0.0}, "--loss.eps 0.0"),
        (OptimConfig, {"lr": 0.0}, "--optim.lr 0.0"),
        (TrainConfig, {"ema": 1.0}, "--train.ema 1.0"),
        (settings.PostprocessConfig, {"bin_thresh": 1.0}, "--postprocess.bin-thresh 1.0"),
        (settings.IoUConfig, {"iou_thresh": 0.0}, "--metric.iou.iou-thresh 0.0"),
        (OptimConfig, {"gamma": -1.0}, "--optim.gamma -1.0"),
        (OptimConfig, {"betas": (0.9, 1.0)}, "--optim.betas 0.9 1.0"),
        (OptimConfig, {"eps": -1.0}, "--optim.eps -1.0"),
        (CLEvalConfig, {"ap_constraint": 7.0}, "--metric.cleval.ap-constraint 7.0"),
        (CLEvalConfig, {"max_polygons": -1}, "--metric.cleval.max-polygons -1"),
        (
            CLEvalConfig,
            {"recall_granularity_penalty": -1.0},
            "--metric.cleval.recall-granularity-penalty",
        ),
        (CLEvalConfig, {"scale_bins": (0.5, 0.1, 0.1)}, "--metric.cleval.scale-bins 0.5 0.1 0.1"),
        (CLEvalConfig, {"scale_bins": (0.5,)}, "--metric.cleval.scale-bins 0.5"),
    ],
)
def test_contradictions_name_the_flag(section, values, flag):
    with pytest.raises(ValueError, match=flag.replace(".", r"\.")):
        section(**values)


def test_every_field_has_a_help_text():
    source = Path(configs.__file__).read_text(encoding="utf-8").splitlines()
    for index, line in enumerate(source):
        if line.startswith("    ") and ": " in line and " = " in line and "Config" not in line:
            name = line.strip().split(":")[0]
            if name.isidentifier() and line[4] != " ":
                assert source[index + 1].strip().startswith('"""'), f"{name} has no help"


def test_settings_need_the_standard_library_only():
    code = (
        "import sys, configs; "
        "assert not {'torch', 'numpy', 'tyro', 'cv2'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(configs.__file__).parent)
