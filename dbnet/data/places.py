"""Where the splits lie by the settings; looked at before PyTorch is imported."""

from dbnet.data.annotations.find import Where, find_source
from dbnet.data.annotations.sides import Side
from dbnet.runtime.torchrun import is_started_by_torchrun
from dbnet.settings import EvalDataConfig


def where_of(cfg: EvalDataConfig, split: str) -> Where:
    """The places that the settings name for this split; both parts of one have the same."""
    side = None
    if cfg.val_fraction and split in ("train", "val"):
        side = Side(split == "val", cfg.val_fraction, cfg.val_seed)
        split = "train"
    images, annotations = (getattr(paths, split, None) for paths in (cfg.images, cfg.annotations))
    return Where(images, annotations, cfg.follow_links, side)


def check_places(cfg: EvalDataConfig, splits: list[str]) -> None:
    """See that the splits are there, in a format that is read, without reading them.

    Raises:
        InputError: one is not; says what the root is, and what was probably meant.
    """
    if cfg.root is not None:
        for split in splits:
            find_source(cfg.root, split, cfg.format, where_of(cfg, split))


def check_early(cfg: EvalDataConfig, splits: list[str]) -> None:
    """`check_places`. Under torchrun it does nothing: rank 0 checks later."""
    if not is_started_by_torchrun():
        check_places(cfg, splits)
