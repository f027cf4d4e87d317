"""The settings of the components and their defaults, nowhere else.

Standard library only, so that `--help` answers at once.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from dbnet.section import Range, Section, require

Share = Annotated[float, Range(ge=0, le=1)]  # also of probabilities
Count = Annotated[int, Range(ge=1)]
Natural = Annotated[int, Range(ge=0)]
NonNegative = Annotated[float, Range(ge=0)]
Positive = Annotated[float, Range(gt=0)]
ShrinkRatio = Annotated[float, Range(gt=0, lt=1)]
Side = Annotated[int, Range(ge=64, multiple_of=32)]  # of the network's input, in pixels


@dataclass(frozen=True)
class SplitPaths:
    """A file or folder for each split, below the root or absolute; None: a usual place."""

    train: Path | None = None
    """Training split; with --data.val-fraction also the validation split."""
    val: Path | None = None
    """Validation split."""


@dataclass(frozen=True)
class EvalDataConfig(Section, prefix="data"):
    """Where the images come from and how they reach the network."""

    root: Path | None = None
    """Folder with images/{train,val} and annotations. None: receipts are drawn."""
    format: Literal[
        "auto",
        "ufo",
        "coco",
        "icdar",
        "labelme",
        "paddle",
        "doctr",
        "labelstudio",
        "cvat",
        "via",
        "voc",
        "yolo",
    ] = "auto"
    """Annotation format under ROOT; auto looks at what is in the files."""
    images: SplitPaths = field(default_factory=SplitPaths)
    """Folders of images that are not images/SPLIT."""
    annotations: SplitPaths = field(default_factory=SplitPaths)
    """Files or folders of annotations that are not in a usual place."""
    follow_links: bool = False
    """Allow links that lead out of ROOT, and read linked folders."""
    val_fraction: Annotated[float, Range(ge=0, lt=1)] = 0.0
    """Share of the images that is held back for validation, where ROOT has no val split."""
    val_seed: Annotated[int, Range(ge=0, lt=2**63)] = 0
    """Seed that selects the validation images."""
    ignore_marks: tuple[str, ...] = (
        "###",
        "difficult",
        "don't care",
        "excluded-region",
        "ignore",
        "illegible",
        "iscrowd",
        "maintable",
        "masked",
        "stamp",
        "unreadable",
    )
    """Marks and classes, in any spelling, of texts that are neither learned nor counted."""
    image_size: Side = 640
    """Longest side at the network in pixels, padded to a square. A multiple of 32."""
    batch_size: Count = 12
    """Images per batch, of each rank where torchrun starts several."""
    num_workers: Natural = 4
    """Loader processes; 0 loads in the main process."""
    prefetch_factor: Count = 2
    """Batches each worker prepares ahead."""
    persistent_workers: bool = True
    """Keep the workers alive between passes."""
    scoring_workers: Natural | None = None
    """Processes that score validation images; None: with a GPU half of the cores, else none."""
    pin_memory: bool = True
    """Page-locked host memory for faster copies (CUDA only)."""
    drawn_val: Count = 404
    """Validation receipts to draw when there is no root."""
    drawn_level: Literal["words", "lines"] = "words"
    """What drawn receipts have annotated."""
    drawn_style: Literal["plain", "hard"] = "plain"
    """hard: with what makes real photos difficult; see docs/synthetic.md."""
    drawn_backgrounds: Path | None = None
    """Photos behind hard receipts: a folder of images, or a data set, whose texts are ignored."""
    drawn_textures: Path | None = None
    """Photos of creased paper for hard receipts: a folder of images."""
    drawn_seed: Natural = 0
    """Seed of the drawn receipts; validation uses its own stream."""
    drawn_dir: Path = Path("data/drawn")
    """Folder of drawn receipts."""
    cache: Literal["none", "targets", "all"] = "targets"
    """Keep what never changes between epochs on disk: target maps, or all, resized images too."""
    cache_dir: Path = Path("cache")
    """Folder of the cache. It may be deleted at any time, and shared between runs."""
    skip_missing: bool = False
    """Leave out annotated images that are not there, counted, instead of refusing the data set."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("drawn_backgrounds", "drawn_textures"):
            require(
                getattr(self, name) is None or self.drawn_style == "hard",
                f"{self.flag(name)}: is for --data.drawn-style hard",
            )
        for name in ("images", "annotations", "follow_links"):
            require(
                self.root is not None or getattr(self, name) in (SplitPaths(), False),
                f"{self.flag(name)}: is for your own images; without --data.root, all are drawn",
            )
        require(
            self.root is not None or not self.val_fraction,
            "--data.val-fraction: is for your own images; drawn receipts have a val split",
        )
        for name in ("images", "annotations"):
            require(
                not self.val_fraction or getattr(self, name).val is None,
                f"--data.val-fraction: takes val from the training images; leave "
                f"{self.flag(name)}.val or the fraction out (--data.val-fraction 0)",
            )
        require(
            not self.val_seed or self.val_fraction > 0,
            "--data.val-seed: is for --data.val-fraction",
        )


@dataclass(frozen=True)
class SplitDataConfig(EvalDataConfig, prefix="data"):
    """Where the images come from and how they reach the network."""

    drawn_train: Count = 400
    """Training receipts to draw when there is no root, where the train split is read."""


@dataclass(frozen=True)
class DataConfig(SplitDataConfig, prefix="data"):
    """Where the images come from and how they reach the network."""

    train_size: Side | None = None
    """Side of the training input; None: image_size. Less trains faster, with augment.crop."""
    drawn_mix: Natural = 0
    """Drawn receipts added to the training images of root; helps where those are few or alike."""
    fill_cache: bool = False
    """Fill the cache with all samples on num_workers processes, then stop."""
    check_only: bool = False
    """List what is wrong with the data set, then stop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.drawn_mix or self.root is not None,
            "--data.drawn-mix: is for your own images; without --data.root, all are drawn",
        )
        require(
            not self.fill_cache or self.cache != "none",
            "--data.fill-cache: needs --data.cache targets or all",
        )


@dataclass(frozen=True)
class AugmentConfig(Section, prefix="augment"):
    """Random changes to training images. Off unless said, apart from the flip."""

    flip: Share = 0.5
    """Probability of a horizontal flip."""
    rotate: Annotated[float, Range(ge=0, le=180)] = 0.0
    """Largest rotation in degrees, drawn uniformly from both sides."""
    quarter_turns: Share = 0.0
    """Probability of a turn by 90, 180 or 270 degrees."""
    scale: Annotated[tuple[float, float], Range(ge=0.1)] = (1.0, 1.0)
    """Smallest and largest zoom relative to the fitted image, drawn log-uniformly."""
    crop: Share = 0.0
    """Probability of a random square window, 30-100 % of the longest side, instead of scale."""
    color: Share = 0.0
    """Strength of changes of brightness, contrast, white balance, saturation and gamma, 0..1."""
    blur: Share = 0.0
    """Probability of a slight gaussian or motion blur."""
    noise: Share = 0.0
    """Probability of sensor noise."""
    jpeg: Share = 0.0
    """Probability of JPEG artefacts."""
    jpeg_quality: Annotated[tuple[int, int], Range(ge=1, le=100)] = (25, 85)
    """Lowest and highest JPEG quality; below 20, small text becomes hard to read."""
    stretch: Annotated[tuple[float, float], Range(ge=0.25, le=4)] = (1.0, 1.0)
    """Smallest and largest ratio of width to height, relative to the image's own."""
    low_resolution: Share = 0.0
    """Probability of scaling down to 0.25-0.8 and up again; text keeps about 6 pixels of height."""
    defocus: Share = 0.0
    """Probability of strong defocus or motion blur, in proportion to the text height."""
    shade: Share = 0.0
    """Probability of uneven light and cast shadows."""
    invert: Share = 0.0
    """Probability of white on black: the whole image, or a bar behind some texts."""
    show_through: Share = 0.0
    """Probability of mirrored print that shows through from the back, unlabelled. Needs flip 0."""
    crease: Share = 0.0
    """Probability of folded or crumpled paper."""
    fade: Share = 0.0
    """Probability of faint, thin print."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scale", "stretch", "jpeg_quality"):
            low, high = getattr(self, name)
            require(low <= high, f"{self.flag(name)} {low} {high}: the smaller one comes first")


@dataclass(frozen=True)
class TargetsConfig(Section, prefix="targets"):
    """Ground-truth maps (DBNet, section 3.4)."""

    shrink_ratio: ShrinkRatio = 0.4
    """r in D = A (1 - r^2) / L: how far texts are shrunk to kernels."""
    thresh_min: Share = 0.3
    """Threshold map at distance D from the outline."""
    thresh_max: Share = 0.7
    """Threshold map on the outline."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.thresh_min < self.thresh_max,
            f"--targets.thresh-min {self.thresh_min}: must be below --targets.thresh-max "
            f"{self.thresh_max}",
        )


@dataclass(frozen=True)
class ModelConfig(Section, prefix="model"):
    """Encoder, feature pyramid, head."""

    encoder: str = "resnet18"
    """Any timm model with feature maps at strides 4, 8, 16 and 32."""
    pretrained: bool = True
    """Start the encoder from ImageNet weights where the hub can be reached."""
    weights: Path | None = None
    """Start the whole detector from this checkpoint instead."""
    fpn_channels: Annotated[int, Range(ge=4, multiple_of=4)] = 256
    """Channels inside the feature pyramid; a multiple of 4."""


@dataclass(frozen=True)
class LossConfig(Section, prefix="loss"):
    """L = prob_weight Ls + thresh_weight Lt + binary_weight Lb.

    The paper writes L = Ls + alpha Lb + beta Lt with alpha 1, beta 10; the reference code
    weighs the probability term with 5.
    """

    prob_weight: NonNegative = 5.0
    """Balanced cross-entropy of the probability map."""
    thresh_weight: NonNegative = 10.0
    """Masked L1 of the threshold map (beta)."""
    binary_weight: NonNegative = 1.0
    """Dice of the approximate binary map (alpha)."""
    negative_ratio: NonNegative = 3.0
    """Hard negatives per positive pixel in the cross-entropy, per image."""
    k: Positive = 50.0
    """Steepness of the differentiable binarization."""
    eps: Positive = 1e-6
    """Keeps the quotients finite."""


@dataclass(frozen=True)
class OptimConfig(Section, prefix="optim"):
    """AdamW and its schedule, stepped once per optimizer step."""

    lr: Positive = 1e-3
    """Peak learning rate."""
    betas: Annotated[tuple[float, float], Range(ge=0, lt=1)] = (0.9, 0.999)
    """AdamW moments."""
    eps: Positive = 1e-8
    """AdamW denominator."""
    weight_decay: NonNegative = 1e-4
    """Decoupled weight decay."""
    schedule: Literal["step", "cosine"] = "step"
    """step: times gamma every step_size epochs; cosine: to zero over all epochs."""
    step_size: Count = 100
    """Epochs between drops of the step schedule."""
    gamma: Share = 0.1
    """Factor of each drop."""
    warmup_epochs: NonNegative = 0.0
    """Linear warm-up from a hundredth of the rate; fractions of an epoch are fine."""


@dataclass(frozen=True)
class PostprocessConfig(Section, prefix="postprocess"):
    """Probability map to polygons."""

    bin_thresh: Annotated[float, Range(ge=0, lt=1)] = 0.2
    """Pixels above this belong to text; best below 0.5."""
    box_thresh: Annotated[float, Range(ge=0, lt=1)] = 0.3
    """Detections whose mean probability is below this are dropped."""
    max_candidates: Count = 300
    """At most this many detections per image, those with the highest scores."""
    unclip_ratio: NonNegative | None = None
    """Offset ratio of the DBNet paper, such as 1.5; None: the exact inverse of the shrink."""
    use_polygon: bool = True
    """Polygons that follow the outline; off: the smallest rotated rectangle around each."""
    min_size: NonNegative = 3.0
    """Texts whose rectangle, grown back, has a side shorter than this many pixels are dropped."""


@dataclass(frozen=True)
class CLEvalConfig(Section, prefix="metric.cleval"):
    """CLEval, detection only, with the published options."""

    ap_constraint: Share = 0.3
    """Least share of a detection's area that must lie on a text to match it."""
    recall_granularity_penalty: NonNegative = 1.0
    """Weight of the penalty for one text split over several detections."""
    precision_granularity_penalty: NonNegative = 1.0
    """Weight of the penalty for one detection merging several texts."""
    vertical_aspect_ratio_thresh: NonNegative = 0.5
    """Texts with width / height below this are read from top to bottom."""
    max_polygons: Count = 500
    """Detections evaluated per image, the first ones; the others are counted."""
    scale_wise: bool = False
    """Also report results by text size."""
    scale_bins: tuple[float, ...] = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.1, 0.5, 1.0)
    """Borders of text height over longest image side; a text on a border is in both bins."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = all(low < high for low, high in pairwise(self.scale_bins))
        require(
            len(self.scale_bins) >= 2 and rising,
            f"--metric.cleval.scale-bins {' '.join(map(str, self.scale_bins))}: must be two or "
            "more borders that rise",
        )


@dataclass(frozen=True)
class IoUConfig(Section, prefix="metric.iou"):
    """ICDAR 2015 intersection over union."""

    iou_thresh: Annotated[float, Range(gt=0, lt=1)] = 0.5
    """Overlap a detection needs to match a text."""


@dataclass(frozen=True)
class MetricConfig(Section, prefix="metric"):
    """What validation reports."""

    cleval: CLEvalConfig = field(default_factory=CLEvalConfig)
    iou: IoUConfig = field(default_factory=IoUConfig)
