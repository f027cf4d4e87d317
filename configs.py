"""The settings of the programs: tyro turns the fields into flags.

Those of the components are in dbnet.settings, those of the training loop in
dbnet.training.settings. Standard library only: `--help` answers at once.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from dbnet.section import Range, Section, require
from dbnet.settings import (
    AugmentConfig,
    Count,
    DataConfig,
    EvalDataConfig,
    LossConfig,
    MetricConfig,
    ModelConfig,
    Natural,
    NonNegative,
    OptimConfig,
    PostprocessConfig,
    ShrinkRatio,
    Side,
    SplitDataConfig,
    TargetsConfig,
)
from dbnet.training.settings import TrainConfig

P = TypeVar("P", "EvaluateConfig", "ProfileConfig")


@dataclass(frozen=True)
class Config(Section):
    """Train a DBNet text detector."""

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        smaller = (self.data.train_size or self.data.image_size) < self.data.image_size
        require(
            not smaller or self.augment.crop > 0 or self.augment.scale[1] > 1,
            f"--data.train-size {self.data.train_size}: whole images would be shrunk below "
            f"--data.image-size {self.data.image_size}; add --augment.crop 1",
        )


@dataclass(frozen=True)
class EvaluateConfig(Section):
    """Evaluate a checkpoint. Sections default to what it was trained with."""

    checkpoint: Path | None = None
    """Checkpoint to evaluate; None: the newest best.pt under runs/, else the released weights."""
    split: str = "val"
    """Split of the data set."""
    data: SplitDataConfig = field(default_factory=SplitDataConfig)
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    tile: Literal["auto", "off"] = "off"
    """off: every image fitted to one size, as in training's validation; auto: as predict.py, which
    reads images at the scale of their text."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast type; auto takes bf16 where the device computes in it natively."""
    out: Path | None = None
    """Folder for the results; None: eval-DATE-TIME beside the checkpoint."""
    draw_worst: Annotated[int, Range(ge=0, le=99)] = 8
    """Number of images to draw, those with the lowest CLEval hmean."""
    sweep: bool = False
    """Instead, run the network once and score a grid of post-process settings on its maps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.sweep or self.tile == "off",
            "--sweep and --tile auto: the sweep scores maps of fitted images; leave one out",
        )


@dataclass(frozen=True)
class NetworkConfig(Section, prefix="model"):
    """A network of random weights to profile, where there is no checkpoint."""

    encoder: str | None = None
    """Any timm model with feature maps at strides 4, 8, 16 and 32; None: train.py's default."""
    fpn_channels: Annotated[int, Range(ge=4, multiple_of=4)] | None = None
    """Channels inside the feature pyramid, a multiple of 4; None: train.py's default."""


@dataclass(frozen=True)
class ProfileConfig(Section):
    """Find out where validation time goes. Sections default to the checkpoint's settings."""

    checkpoint: Path | None = None
    """Checkpoint to run; None: the newest best.pt under runs/, else the released weights."""
    data: EvalDataConfig = field(default_factory=EvalDataConfig)
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    model: NetworkConfig = field(default_factory=NetworkConfig)
    """Encoder and pyramid where there is no checkpoint; their weights are random."""
    loss: LossConfig = field(default_factory=LossConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast type; auto takes bf16 where the device computes in it natively."""
    warmup: Natural = 2
    """Batches to run first without measuring."""
    train_steps: Natural = 5
    """Training steps to time as well; 0: none."""
    compare_reference: bool = False
    """Also time the slow reference of targets, post-process and metrics, without a cache."""
    trace: bool = False
    """Write a torch.profiler trace of three batches."""
    baseline: Path | None = None
    """Earlier profile.json to compare with; exit status 1 if a stage has become slower."""
    tolerance: NonNegative = 0.1
    """Slowdown against the baseline that is accepted; 0.1 is 10 %."""
    out: Path | None = None
    """Folder for profile.json, report.md and stages.png; None: runs/profile-DATE-TIME."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("encoder", "fpn_channels"):
            given = getattr(self.model, name) is not None
            require(
                self.checkpoint is None or not given,
                f"{NetworkConfig.flag(name)}: {self.checkpoint} has its own network; "
                "leave the flag out",
            )


@dataclass(frozen=True)
class PredictConfig(Section):
    """Find the text in your own images. Settings default to what the weights were trained with."""

    images: tuple[str, ...]
    """Images, folders of them, globs; "-" or nothing: a list from a pipe, one per line."""
    checkpoint: Path | None = None
    """Weights to use; None: the newest best.pt under runs/, else the released weights."""
    onnx: Path | None = None
    """Network to use instead, as python -m dbnet.export writes it; onnxruntime runs it."""
    out: Path | None = None
    """Folder for predictions.json, predictions.csv, drawings; None: runs/predict-DATE-TIME."""
    draw: bool = False
    """Also draw each image with the text found in it, to drawings/."""
    crops: Path | None = None
    """Folder for an upright image of each text, NAME/0001.png, and crops.csv."""
    image_size: Side = DataConfig.image_size
    """Longest side at the network in pixels, a multiple of 32. More finds smaller text."""
    shrink_ratio: ShrinkRatio = TargetsConfig.shrink_ratio
    """Shrink ratio r of the training targets; detections are grown back by it."""
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    tile: Literal["auto", "off"] = "auto"
    """auto: the scale follows the text; images whose text is small are cut into windows."""
    batch_size: Count = 8
    """Images of one shape in a batch of the network."""
    num_workers: Count = 4
    """Threads that decode and draw images."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast type; auto takes bf16 where the device computes in it natively."""
    provider: str = "auto"
    """Execution provider of onnxruntime for --onnx: cpu, cuda, tensorrt, openvino, coreml, ..."""
    fast: bool = False
    """Compile the network (torch.compile): a minute per image shape, for thousands of images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.onnx is None:
            require(self.provider == "auto", "--provider: is for --onnx; set --device instead")
            return
        require(self.checkpoint is None, "--onnx and --checkpoint: one network at a time")
        require(
            self.device in ("auto", "cpu") and self.precision in ("auto", "fp32"),
            "--onnx: the file has its precision, and runs by --provider; leave --device and "
            "--precision out",
        )
        require(not self.fast, "--onnx: cannot be compiled; leave --fast out")


def over_trained(cls: type[P], trained: Config, checkpoint: Path) -> P:
    """The defaults of a program that runs a checkpoint: the sections it was trained with."""
    names = {f.name for f in fields(cls)} & {"targets", "loss", "postprocess", "metric"}
    sections = {name: getattr(trained, name) for name in names}
    data = type(cls().data)
    values = {f.name: getattr(trained.data, f.name) for f in fields(data)}
    return cls(checkpoint=checkpoint, data=data(**values), **sections)
