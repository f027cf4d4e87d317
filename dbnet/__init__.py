"""DBNet text detection for receipts and documents."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbnet.detector import Detector, Found

__version__ = "0.2.0"
__all__ = ["Detector", "Found", "__version__"]


def __getattr__(name: str) -> Any:
    """Detector and Found are imported when they are first used: `import dbnet` stays quick."""
    if name in ("Detector", "Found"):
        from dbnet import detector

        return getattr(detector, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
