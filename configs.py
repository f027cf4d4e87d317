"""Every setting and its default, nowhere else. tyro turns the fields into flags.

One section is the argument list of one constructor: `DBLoss(**vars(cfg.loss))`.
Standard library only, so that `--help` answers at once.
"""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from dbnet.errors import InputError


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


@dataclass(frozen=True)
class DataConfig:
    """Where the images come from and how they reach the network."""

    root: Path | None = None
    """Folder with images/{train,val} and annotations. None: receipts are drawn."""
    format: Literal["auto", "ufo", "icdar", "coco", "labelme"] = "auto"
    """Annotation format under ROOT; auto looks at what is there."""
    image_size: int = 640
    """Longest side at the network in pixels, padded to a square. A multiple of 32."""
    train_size: int | None = None
    """Side of the training input; None: image_size. Less trains faster, with augment.crop."""
    batch_size: int = 12
    """Images per batch, of each rank where torchrun starts several."""
    num_workers: int = 4
    """Loader processes; 0 loads in the main process."""
    prefetch_factor: int = 2
    """Batches each worker prepares ahead."""
    persistent_workers: bool = True
    """Keep the workers alive between epochs."""
    pin_memory: bool = True
    """Page-locked host memory for faster copies (CUDA only)."""
    drawn_train: int = 400
    """Training receipts to draw when there is no root."""
    drawn_mix: int = 0
    """Drawn receipts added to the training images of root; helps where those are few or alike."""
    drawn_level: Literal["words", "lines"] = "words"
    """What drawn receipts have annotated."""
    drawn_val: int = 404
    """Validation receipts to draw when there is no root."""
    drawn_dir: Path = Path("data/drawn")
    """Where drawn receipts are kept."""
    drawn_seed: int = 0
    """Seed of the drawn receipts; validation uses its own stream."""
    cache: Literal["none", "targets", "all"] = "targets"
    """Keep what never changes between epochs on disk: target maps, or all, resized images too."""
    cache_dir: Path = Path("cache")
    """Where it is kept. May be deleted at any time, and shared between runs."""
    fill_cache: bool = False
    """Fill the cache with all samples on num_workers processes, then stop."""
    skip_missing: bool = False
    """Leave out annotated images that are not there, counted, instead of refusing the data set."""
    check_only: bool = False
    """List what is wrong with the data set, then stop."""

    def __post_init__(self) -> None:
        for name in ("image_size", "train_size"):
            size = getattr(self, name)
            _require(
                size is None or (size >= 64 and size % 32 == 0),
                f"--data.{name.replace('_', '-')} {size}: must be a multiple of 32, at least 64",
            )
        _require(self.batch_size >= 1, f"--data.batch-size {self.batch_size}: must be at least 1")
        _require(self.num_workers >= 0, f"--data.num-workers {self.num_workers}: must be 0 or more")
        _require(self.prefetch_factor >= 1, "--data.prefetch-factor must be at least 1")
        _require(
            self.drawn_train >= 1 and self.drawn_val >= 1,
            "--data.drawn-train and --data.drawn-val must be at least 1",
        )
        _require(self.drawn_mix >= 0, f"--data.drawn-mix {self.drawn_mix}: must be 0 or more")
        _require(
            not self.drawn_mix or self.root is not None,
            "--data.drawn-mix: is for your own images; without --data.root, all are drawn",
        )
        _require(
            not self.fill_cache or self.cache != "none",
            "--data.fill-cache: needs --data.cache targets or all",
        )


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training images. Off unless said, apart from the flip."""

    flip: float = 0.5
    """Probability of a horizontal flip."""
    rotate: float = 0.0
    """Largest rotation in degrees, drawn uniformly from both sides."""
    quarter_turns: float = 0.0
    """Probability of a turn by 90, 180 or 270 degrees."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest zoom relative to the fitted image, drawn log-uniformly."""
    crop: float = 0.0
    """Probability of a random square window, 30-100 % of the longest side, instead of scale."""
    color: float = 0.0
    """Strength of brightness, contrast, saturation and gamma changes, 0..1."""
    blur: float = 0.0
    """Probability of a slight gaussian or motion blur."""
    noise: float = 0.0
    """Probability of sensor noise."""
    jpeg: float = 0.0
    """Probability of JPEG artefacts."""

    def __post_init__(self) -> None:
        for name in ("flip", "quarter_turns", "crop", "color", "blur", "noise", "jpeg"):
            value = getattr(self, name)
            flag = f"--augment.{name.replace('_', '-')}"
            _require(0 <= value <= 1, f"{flag} {value}: must lie in 0..1")
        _require(0 <= self.rotate <= 180, f"--augment.rotate {self.rotate}: must lie in 0..180")
        _require(
            0.1 <= self.scale[0] <= self.scale[1],
            f"--augment.scale {self.scale[0]} {self.scale[1]}: need 0.1 <= smallest <= largest",
        )


@dataclass(frozen=True)
class TargetsConfig:
    """Ground-truth maps (DBNet, section 3.4)."""

    shrink_ratio: float = 0.4
    """r in D = A (1 - r^2) / L: how far texts are shrunk to kernels."""
    thresh_min: float = 0.3
    """Threshold map at distance D from the outline."""
    thresh_max: float = 0.7
    """Threshold map on the outline."""

    def __post_init__(self) -> None:
        _require(
            0 < self.shrink_ratio < 1,
            f"--targets.shrink-ratio {self.shrink_ratio}: must lie between 0 and 1",
        )
        _require(
            0 <= self.thresh_min < self.thresh_max <= 1,
            "--targets.thresh-min must be below --targets.thresh-max, both in 0..1",
        )


@dataclass(frozen=True)
class ModelConfig:
    """Encoder, feature pyramid, head."""

    encoder: str = "resnet18"
    """Any timm model with feature maps at strides 4, 8, 16 and 32."""
    pretrained: bool = True
    """Start the encoder from ImageNet weights where the hub can be reached."""
    weights: Path | None = None
    """Start the whole detector from this checkpoint instead."""
    fpn_channels: int = 256
    """Channels inside the feature pyramid; a multiple of 4."""

    def __post_init__(self) -> None:
        _require(
            self.fpn_channels >= 4 and self.fpn_channels % 4 == 0,
            f"--model.fpn-channels {self.fpn_channels}: must be a multiple of 4",
        )


@dataclass(frozen=True)
class LossConfig:
    """L = prob_weight Ls + thresh_weight Lt + binary_weight Lb.

    The paper writes L = Ls + alpha Lb + beta Lt with alpha 1, beta 10; the reference code
    weighs the probability term with 5.
    """

    prob_weight: float = 5.0
    """Balanced cross-entropy of the probability map."""
    thresh_weight: float = 10.0
    """Masked L1 of the threshold map (beta)."""
    binary_weight: float = 1.0
    """Dice of the approximate binary map (alpha)."""
    negative_ratio: float = 3.0
    """Hard negatives per positive pixel in the cross-entropy, per image."""
    k: float = 50.0
    """Steepness of the differentiable binarization."""
    eps: float = 1e-6
    """Keeps the quotients finite."""

    def __post_init__(self) -> None:
        for name in ("prob_weight", "thresh_weight", "binary_weight", "negative_ratio"):
            _require(
                getattr(self, name) >= 0, f"--loss.{name.replace('_', '-')}: must be 0 or more"
            )
        _require(self.k > 0, f"--loss.k {self.k}: must be above 0")
        _require(self.eps > 0, f"--loss.eps {self.eps}: must be above 0")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule, stepped once per optimizer step."""

    lr: float = 1e-3
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW moments."""
    eps: float = 1e-8
    """AdamW denominator."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    schedule: Literal["step", "cosine"] = "step"
    """step: times gamma every step_size epochs; cosine: to zero over all epochs."""
    step_size: int = 100
    """Epochs between drops of the step schedule."""
    gamma: float = 0.1
    """Factor of each drop."""
    warmup_epochs: float = 0.0
    """Linear warm-up from a hundredth of the rate; fractions of an epoch are fine."""

    def __post_init__(self) -> None:
        _require(self.lr > 0, f"--optim.lr {self.lr}: must be above 0")
        _require(self.step_size >= 1, f"--optim.step-size {self.step_size}: must be at least 1")
        _require(self.warmup_epochs >= 0, "--optim.warmup-epochs must be 0 or more")
        _require(self.weight_decay >= 0, "--optim.weight-decay must be 0 or more")
        _require(
            all(0 <= beta < 1 for beta in self.betas),
            f"--optim.betas {self.betas[0]} {self.betas[1]}: must lie in 0..1, below 1",
        )
        _require(self.eps > 0, f"--optim.eps {self.eps}: must be above 0")
        _require(0 <= self.gamma <= 1, f"--optim.gamma {self.gamma}: must lie in 0..1")


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
        _require(self.epochs >= 1, f"--train.epochs {self.epochs}: must be at least 1")
        _require(self.seed >= 0, f"--train.seed {self.seed}: must be 0 or more")
        _require(self.accumulate >= 1, f"--train.accumulate {self.accumulate}: must be at least 1")
        _require(self.clip >= 0, f"--train.clip {self.clip}: must be 0 or more")
        _require(0 <= self.ema < 1, f"--train.ema {self.ema}: must lie in 0..1, below 1")
        _require(
            self.save_minutes >= 0, f"--train.save-minutes {self.save_minutes}: must be 0 or more"
        )
        _require(self.val_every >= 1, f"--train.val-every {self.val_every}: must be at least 1")


@dataclass(frozen=True)
class PostprocessConfig:
    """Probability map to polygons."""

    bin_thresh: float = 0.2
    """Pixels above this belong to text; best below 0.5."""
    box_thresh: float = 0.3
    """Detections whose mean probability is below this are dropped."""
    max_candidates: int = 300
    """At most this many detections per image, those with the highest scores."""
    unclip_ratio: float | None = None
    """Offset ratio of the DBNet paper, such as 1.5; None: the exact inverse of the shrink."""
    use_polygon: bool = True
    """Polygons that follow the outline; off: rotated rectangles."""
    min_size: float = 3.0
    """Texts whose shorter side, grown back, is below this many pixels are dropped."""

    def __post_init__(self) -> None:
        for name in ("bin_thresh", "box_thresh"):
            value = getattr(self, name)
            flag = f"--postprocess.{name.replace('_', '-')}"
            _require(0 <= value < 1, f"{flag} {value}: must lie in 0..1, below 1")
        _require(self.max_candidates >= 1, "--postprocess.max-candidates must be at least 1")
        _require(
            self.unclip_ratio is None or self.unclip_ratio >= 0,
            "--postprocess.unclip-ratio must be 0 or more, or None",
        )
        _require(self.min_size >= 0, "--postprocess.min-size must be 0 or more")


@dataclass(frozen=True)
class CLEvalConfig:
    """CLEval, detection only, with the published options."""

    ap_constraint: float = 0.3
    """Area precision a detection needs to count against a ground truth it covers."""
    recall_granularity_penalty: float = 1.0
    """Weight of the penalty for one text split over several detections."""
    precision_granularity_penalty: float = 1.0
    """Weight of the penalty for one detection merging several texts."""
    vertical_aspect_ratio_thresh: float = 0.5
    """Texts with width / height below this are read from top to bottom."""
    max_polygons: int = 500
    """Detections looked at per image."""
    scale_wise: bool = False
    """Also report results by text size."""
    scale_bins: tuple[float, ...] = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.1, 0.5, 1.0)
    """Borders of the size bins: character height over the image's longest side."""

    def __post_init__(self) -> None:
        _require(
            0 <= self.ap_constraint <= 1,
            f"--metric.cleval.ap-constraint {self.ap_constraint}: must lie in 0..1",
        )
        for name in (
            "recall_granularity_penalty",
            "precision_granularity_penalty",
            "vertical_aspect_ratio_thresh",
        ):
            flag = f"--metric.cleval.{name.replace('_', '-')}"
            _require(getattr(self, name) >= 0, f"{flag}: must be 0 or more")
        _require(
            self.max_polygons >= 1,
            f"--metric.cleval.max-polygons {self.max_polygons}: must be at least 1",
        )
        _require(
            len(self.scale_bins) >= 2
            and all(low < high for low, high in pairwise(self.scale_bins)),
            f"--metric.cleval.scale-bins {' '.join(map(str, self.scale_bins))}: must be two or "
            "more borders that rise",
        )


@dataclass(frozen=True)
class IoUConfig:
    """ICDAR 2015 intersection over union."""

    iou_thresh: float = 0.5
    """Overlap a detection needs to match a text."""

    def __post_init__(self) -> None:
        _require(0 < self.iou_thresh < 1, f"--metric.iou.iou-thresh {self.iou_thresh}: 0..1")


@dataclass(frozen=True)
class MetricConfig:
    """What validation reports."""

    cleval: CLEvalConfig = field(default_factory=CLEvalConfig)
    iou: IoUConfig = field(default_factory=IoUConfig)


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
        _require(
            not smaller or self.augment.crop > 0 or self.augment.scale[1] > 1,
            f"--data.train-size {self.data.train_size}: whole images would be shrunk below "
            f"--data.image-size {self.data.image_size}; add --augment.crop 1",
        )


def _require_no_early_stop(data: DataConfig) -> None:
    _require(
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
        _require(0 <= self.draw_worst <= 99, f"--draw-worst {self.draw_worst}: must lie in 0..99")


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
        _require(self.warmup >= 0, f"--warmup {self.warmup}: must be 0 or more")
        _require(self.train_steps >= 0, f"--train-steps {self.train_steps}: must be 0 or more")
        _require(self.tolerance >= 0, f"--tolerance {self.tolerance}: must be 0 or more")


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
        _require(
            self.image_size >= 64 and self.image_size % 32 == 0,
            f"--image-size {self.image_size}: must be a multiple of 32, at least 64",
        )
        _require(
            0 < self.shrink_ratio < 1,
            f"--shrink-ratio {self.shrink_ratio}: must lie between 0 and 1",
        )
        _require(
            self.onnx is None or self.checkpoint is None,
            "--onnx and --checkpoint: one network at a time",
        )
        _require(
            self.onnx is None
            or (self.device in ("auto", "cpu") and self.precision in ("auto", "fp32")),
            "--onnx: runs on the processor in fp32; leave --device and --precision out",
        )
        _require(self.onnx is None or not self.fast, "--onnx: cannot be compiled; leave --fast out")
        _require(self.batch_size >= 1, f"--batch-size {self.batch_size}: must be at least 1")
        _require(self.num_workers >= 1, f"--num-workers {self.num_workers}: must be at least 1")


def to_dict(cfg: Any) -> dict[str, Any]:
    """Nested dict of plain JSON values: paths become strings, tuples lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return plain(dataclasses.asdict(cfg))


def from_dict(cls: type, values: dict[str, Any]) -> Any:
    """Inverse of `to_dict`. Fields that are missing take their default; unknown ones raise."""
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    _require(not unknown, f"unknown settings in {cls.__name__}: {', '.join(unknown)}")

    def typed(hint: Any, value: Any) -> Any:
        if dataclasses.is_dataclass(hint):
            return from_dict(hint, value)
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if value is not None and Path in options:
            return Path(value)
        return tuple(value) if typing.get_origin(hint) is tuple else value

    return cls(**{name: typed(hints[name], value) for name, value in values.items()})
