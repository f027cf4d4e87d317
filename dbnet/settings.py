"""The settings of the components and their defaults, nowhere else.

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


def require(condition: bool, message: str) -> None:
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
            require(
                size is None or (size >= 64 and size % 32 == 0),
                f"--data.{name.replace('_', '-')} {size}: must be a multiple of 32, at least 64",
            )
        require(self.batch_size >= 1, f"--data.batch-size {self.batch_size}: must be at least 1")
        require(self.num_workers >= 0, f"--data.num-workers {self.num_workers}: must be 0 or more")
        require(self.prefetch_factor >= 1, "--data.prefetch-factor must be at least 1")
        require(
            self.drawn_train >= 1 and self.drawn_val >= 1,
            "--data.drawn-train and --data.drawn-val must be at least 1",
        )
        require(self.drawn_mix >= 0, f"--data.drawn-mix {self.drawn_mix}: must be 0 or more")
        require(
            not self.drawn_mix or self.root is not None,
            "--data.drawn-mix: is for your own images; without --data.root, all are drawn",
        )
        require(
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
    jpeg_quality: tuple[int, int] = (25, 85)
    """Lowest and highest JPEG quality; below 20, small text becomes hard to read."""
    stretch: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest ratio of width to height, relative to the image's own."""
    low_resolution: float = 0.0
    """Probability of scaling down to 0.25-0.8 and up again; text keeps about 6 pixels of height."""
    defocus: float = 0.0
    """Probability of strong defocus or motion blur, in proportion to the text height."""
    shade: float = 0.0
    """Probability of uneven light and cast shadows."""
    invert: float = 0.0
    """Probability of white on black: the whole image, or a bar behind some texts."""
    show_through: float = 0.0
    """Probability of mirrored print that shows through from the back, unlabelled. Needs flip 0."""
    crease: float = 0.0
    """Probability of folded or crumpled paper."""
    fade: float = 0.0
    """Probability of faint, thin print."""

    def __post_init__(self) -> None:
        geometry = ("flip", "quarter_turns", "crop")
        camera = ("color", "blur", "noise", "jpeg", "low_resolution", "defocus")
        paper = ("shade", "invert", "show_through", "crease", "fade")
        for name in (*geometry, *camera, *paper):
            value = getattr(self, name)
            flag = f"--augment.{name.replace('_', '-')}"
            require(0 <= value <= 1, f"{flag} {value}: must lie in 0..1")
        require(0 <= self.rotate <= 180, f"--augment.rotate {self.rotate}: must lie in 0..180")
        require(
            0.1 <= self.scale[0] <= self.scale[1],
            f"--augment.scale {self.scale[0]} {self.scale[1]}: need 0.1 <= smallest <= largest",
        )
        require(
            0.25 <= self.stretch[0] <= self.stretch[1] <= 4,
            f"--augment.stretch {self.stretch[0]} {self.stretch[1]}: "
            "need 0.25 <= smallest <= largest <= 4",
        )
        require(
            1 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 100,
            f"--augment.jpeg-quality {self.jpeg_quality[0]} {self.jpeg_quality[1]}: "
            "need 1 <= lowest <= highest <= 100",
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
        require(
            0 < self.shrink_ratio < 1,
            f"--targets.shrink-ratio {self.shrink_ratio}: must lie between 0 and 1",
        )
        require(
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
        require(
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
            require(getattr(self, name) >= 0, f"--loss.{name.replace('_', '-')}: must be 0 or more")
        require(self.k > 0, f"--loss.k {self.k}: must be above 0")
        require(self.eps > 0, f"--loss.eps {self.eps}: must be above 0")


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
        require(self.lr > 0, f"--optim.lr {self.lr}: must be above 0")
        require(self.step_size >= 1, f"--optim.step-size {self.step_size}: must be at least 1")
        require(self.warmup_epochs >= 0, "--optim.warmup-epochs must be 0 or more")
        require(self.weight_decay >= 0, "--optim.weight-decay must be 0 or more")
        require(
            all(0 <= beta < 1 for beta in self.betas),
            f"--optim.betas {self.betas[0]} {self.betas[1]}: must lie in 0..1, below 1",
        )
        require(self.eps > 0, f"--optim.eps {self.eps}: must be above 0")
        require(0 <= self.gamma <= 1, f"--optim.gamma {self.gamma}: must lie in 0..1")


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
            require(0 <= value < 1, f"{flag} {value}: must lie in 0..1, below 1")
        require(self.max_candidates >= 1, "--postprocess.max-candidates must be at least 1")
        require(
            self.unclip_ratio is None or self.unclip_ratio >= 0,
            "--postprocess.unclip-ratio must be 0 or more, or None",
        )
        require(self.min_size >= 0, "--postprocess.min-size must be 0 or more")


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
        require(
            0 <= self.ap_constraint <= 1,
            f"--metric.cleval.ap-constraint {self.ap_constraint}: must lie in 0..1",
        )
        for name in (
            "recall_granularity_penalty",
            "precision_granularity_penalty",
            "vertical_aspect_ratio_thresh",
        ):
            flag = f"--metric.cleval.{name.replace('_', '-')}"
            require(getattr(self, name) >= 0, f"{flag}: must be 0 or more")
        require(
            self.max_polygons >= 1,
            f"--metric.cleval.max-polygons {self.max_polygons}: must be at least 1",
        )
        require(
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
        require(0 < self.iou_thresh < 1, f"--metric.iou.iou-thresh {self.iou_thresh}: 0..1")


@dataclass(frozen=True)
class MetricConfig:
    """What validation reports."""

    cleval: CLEvalConfig = field(default_factory=CLEvalConfig)
    iou: IoUConfig = field(default_factory=IoUConfig)


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
    require(not unknown, f"unknown settings in {cls.__name__}: {', '.join(unknown)}")

    def typed(hint: Any, value: Any) -> Any:
        if dataclasses.is_dataclass(hint):
            return from_dict(hint, value)
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if value is not None and Path in options:
            return Path(value)
        return tuple(value) if typing.get_origin(hint) is tuple else value

    return cls(**{name: typed(hints[name], value) for name, value in values.items()})


def from_stored(cls: type, values: Any, path: Path) -> Any:
    """`from_dict` for what was read from `path`.

    Raises:
        InputError: the settings in that file do not fit this version.
    """
    try:
        return from_dict(cls, values)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its settings do not fit this version ({error})") from None
