"""The settings of a training: those of its loop, and the type of all of them together.

Standard library only, so that `--help` answers at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

from dbnet.runtime.run_files import RUNS
from dbnet.section import Dataclass, Range, Section
from dbnet.settings import (
    AugmentConfig,
    Count,
    DataConfig,
    LossConfig,
    MetricConfig,
    ModelConfig,
    Natural,
    NonNegative,
    OptimConfig,
    PostprocessConfig,
    Share,
    TargetsConfig,
)


@dataclass(frozen=True)
class TrainConfig(Section, prefix="train"):
    """The training loop."""

    epochs: Count = 200
    """Passes over the training set."""
    max_steps: Count | None = None
    """End after so many optimizer steps, also within an epoch; None: epochs alone count."""
    patience: Count | None = None
    """End after so many validations in a row without a better CLEval hmean; None: never early."""
    seed: Natural = 42
    """Seeds weights, order, workers and augmentation."""
    accumulate: Count = 2
    """Batches per optimizer step (gradient accumulation)."""
    clip: NonNegative = 5.0
    """Largest gradient norm; 0 turns clipping off."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast type; auto takes bf16 where the device computes in it natively."""
    ema: Annotated[float, Range(ge=0, lt=1)] = 0.0
    """Decay of the averaged weights that are validated and saved as best, such as 0.998; 0: off."""
    recompute_encoder: bool = False
    """Run the encoder twice instead of keeping its activations: less memory, more time."""
    deterministic: bool = False
    """Only reproducible kernels, at some cost in speed on a GPU."""
    compile: bool = False
    """Compile the network for full batches (torch.compile): slower to start, then faster."""
    sync_batchnorm: bool = False
    """Batch-norm statistics over all ranks instead of each one's own (GPUs only)."""
    save_minutes: NonNegative = 15.0
    """Minutes between writes of last.pt within an epoch; 0: after every optimizer step."""
    val_every: Count = 1
    """Epochs between validations; the last epoch is always validated."""
    log_every: Count = 1
    """Batches between two points of the training curves in TensorBoard."""
    low_recall: Share = 0.4
    """Validation images whose CLEval recall is below this are drawn in TensorBoard."""
    low_recall_images: Annotated[int, Range(ge=0, le=99)] = 8
    """At most this many of them per validation, those with the lowest recall; 0: none."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the GPU where there is one, each rank its own."""
    out: Path = RUNS
    """Folder of all runs."""
    name: str | None = None
    """Name of this run's folder; None: date and time."""
    resume: Path | None = None
    """Run folder to resume from its last.pt."""


class TrainingSettings(Dataclass, Protocol):
    """All settings of train.py, a frozen dataclass; `Config` of configs.py is one."""

    @property
    def data(self) -> DataConfig: ...

    @property
    def augment(self) -> AugmentConfig: ...

    @property
    def targets(self) -> TargetsConfig: ...

    @property
    def model(self) -> ModelConfig: ...

    @property
    def loss(self) -> LossConfig: ...

    @property
    def optim(self) -> OptimConfig: ...

    @property
    def train(self) -> TrainConfig: ...

    @property
    def postprocess(self) -> PostprocessConfig: ...

    @property
    def metric(self) -> MetricConfig: ...
