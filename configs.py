"""The settings of the programs: tyro turns the fields into flags.

Those of the components are in dbnet.settings. Standard library only: `--help` answers at once.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, TypeVar

from dbnet.settings import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    MetricConfig,
    ModelConfig,
    OptimConfig,
    PostprocessConfig,
    TargetsConfig,
    require,
)

T = TypeVar("T")


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    epochs: int = 200
    """Passes over the training set."""
    seed: int = 42
    """Seeds weights, order, workers and augmentation."""
    accumulate: int = 2
    """Batches per optimizer step (gradient accumulation)."""
    clip: float = 5.0
    """Largest gradient norm; 0 turns clipping off."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast type; auto takes bf16 where the device computes in it natively."""
    ema: float = 0.0
    """Decay of the averaged weights that are validated and kept as best, such as 0.998; 0: off."""
    recompute_encoder: bool = False
    """Run the encoder twice instead of keeping its activations: less memory, more time."""
    deterministic: bool = False
    """Only reproducible kernels, at some cost in speed on a GPU."""
    compile: bool = False
    """Compile the network for full batches (torch.compile): slower to start, then faster."""
    sync_batchnorm: bool = False
    """Batch-norm statistics over all ranks instead of each one's own (GPUs only)."""
    save_minutes: float = 15.0
    """Write last.pt that often within an epoch too; 0: after every optimizer step."""
    val_every: int = 1
    """Epochs between validations; the last epoch is always validated."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the GPU where there is one, each rank its own."""
    out: Path = Path("runs")
    """Folder of all runs."""
    name: str | None = None
    """Name of this run's folder; None: date and time."""
    resume: Path | None = None
    """Run folder to continue exactly where its last.pt stands."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"--train.epochs {self.epochs}: must be at least 1")
        require(self.seed >= 0, f"--train.seed {self.seed}: must be 0 or more")
        require(self.accumulate >= 1, f"--train.accumulate {self.accumulate}: must be at least 1")
        require(self.clip >= 0, f"--train.clip {self.clip}: must be 0 or more")
        require(0 <= self.ema < 1, f"--train.ema {self.ema}: must lie in 0..1, below 1")
        require(
            self.save_minutes >= 0, f"--train.save-minutes {self.save_minutes}: must be 0 or more"
        )
        require(self.val_every >= 1, f"--train.val-every {self.val_every}: must be at least 1")


@dataclass(frozen=True)
class Config:
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
        smaller = (self.data.train_size or self.data.image_size) < self.data.image_size
        require(
            not smaller or self.augment.crop > 0 or self.augment.scale[1] > 1,
            f"--data.train-size {self.data.train_size}: whole images would be shrunk below "
            f"--data.image-size {self.data.image_size}; add --augment.crop 1",
        )


def _require_no_early_stop(data: DataConfig) -> None:
    require(
        not (data.check_only or data.fill_cache),
        "--data.check-only and --data.fill-cache belong to train.py",
    )


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a checkpoint. Sections default to what it was trained with."""

    checkpoint: Path | None = None
    """Checkpoint to evaluate; None: the newest best.pt under runs/."""
    split: str = "val"
    """Split of the data set."""
    data: DataConfig = field(default_factory=DataConfig)
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast type; auto takes bf16 where the device computes in it natively."""
    out: Path | None = None
    """Folder for metrics.json, predictions.json and drawings; None: eval-DATE-TIME beside it."""
    draw_worst: int = 8
    """Draw this many images, those with the lowest CLEval hmean."""

    def __post_init__(self) -> None:
        _require_no_early_stop(self.data)
        require(0 <= self.draw_worst <= 99, f"--draw-worst {self.draw_worst}: must lie in 0..99")


@dataclass(frozen=True)
class ProfileConfig:
    """Find out where validation time goes. Sections default to the checkpoint's settings."""

    checkpoint: Path | None = None
    """Checkpoint to run; None: the newest best.pt under runs/, else random weights."""
    data: DataConfig = field(default_factory=DataConfig)
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    """Encoder and pyramid where there is no checkpoint; their weights are random."""
    loss: LossConfig = field(default_factory=LossConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast type; auto takes bf16 where the device computes in it natively."""
    warmup: int = 2
    """Batches that are run first and not measured."""
    train_steps: int = 5
    """Training steps timed beside; 0: none."""
    compare_naive: bool = False
    """Also run the textbook path: no cache, plain targets, post-process and metric."""
    trace: bool = False
    """Write a torch.profiler trace of three batches."""
    baseline: Path | None = None
    """Earlier profile.json; exit status 1 where a stage has become slower."""
    tolerance: float = 0.1
    """Slowdown a stage may have against the baseline; 0.1 is 10 %."""
    out: Path | None = None
    """Folder for profile.json, report.md and stages.png; None: runs/profile-DATE-TIME."""

    def __post_init__(self) -> None:
        _require_no_early_stop(self.data)
        require(self.warmup >= 0, f"--warmup {self.warmup}: must be 0 or more")
        require(self.train_steps >= 0, f"--train-steps {self.train_steps}: must be 0 or more")
        require(self.tolerance >= 0, f"--tolerance {self.tolerance}: must be 0 or more")


@dataclass(frozen=True)
class PredictConfig:
    """Find the text in your own images. Settings default to what the weights were trained with."""

    images: tuple[str, ...]
    """Images, folders of them, globs; "-" or nothing: a list from a pipe, one per line."""
    checkpoint: Path | None = None
    """Weights to use; None: weights/dbnet-efficientnet_lite0.pt beside this script."""
    onnx: Path | None = None
    """Network to use instead, as python -m dbnet.export writes it; onnxruntime runs it."""
    out: Path | None = None
    """Folder for predictions.json, predictions.csv, drawings; None: runs/predict-DATE-TIME."""
    draw: bool = False
    """Also draw each image with the text found in it, to drawings/."""
    image_size: int = DataConfig.image_size
    """Longest side at the network in pixels, a multiple of 32. More finds smaller text."""
    shrink_ratio: float = TargetsConfig.shrink_ratio
    """How far texts were shrunk for training; detections are grown back accordingly."""
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    batch_size: int = 8
    """Images of one shape that go through the network together."""
    num_workers: int = 4
    """Threads that decode images ahead of the network, and draw behind it."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast type; auto takes bf16 where the device computes in it natively."""
    fast: bool = False
    """Compile the network (torch.compile): a minute per image shape, for thousands of images."""

    def __post_init__(self) -> None:
        require(
            self.image_size >= 64 and self.image_size % 32 == 0,
            f"--image-size {self.image_size}: must be a multiple of 32, at least 64",
        )
        require(
            0 < self.shrink_ratio < 1,
            f"--shrink-ratio {self.shrink_ratio}: must lie between 0 and 1",
        )
        require(
            self.onnx is None or self.checkpoint is None,
            "--onnx and --checkpoint: one network at a time",
        )
        require(
            self.onnx is None
            or (self.device in ("auto", "cpu") and self.precision in ("auto", "fp32")),
            "--onnx: runs on the processor in fp32; leave --device and --precision out",
        )
        require(self.onnx is None or not self.fast, "--onnx: cannot be compiled; leave --fast out")
        require(self.batch_size >= 1, f"--batch-size {self.batch_size}: must be at least 1")
        require(self.num_workers >= 1, f"--num-workers {self.num_workers}: must be at least 1")


def over_trained(cls: type[T], trained: Config, checkpoint: Path) -> T:
    """The defaults of a program that runs a checkpoint: the sections it was trained with."""
    shared = {f.name for f in fields(cls)} & {f.name for f in fields(Config)}
    sections = {name: getattr(trained, name) for name in shared}
    # Drawn receipts were for training: figures are those of the images of root alone.
    sections["data"] = replace(trained.data, drawn_mix=0)
    return cls(checkpoint=checkpoint, **sections)
