"""DBNet text detection for receipts and documents."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbnet.detector import Detector, Found
    from dbnet.inference.inputs import pages

__version__ = "0.2.0"
__all__ = ["Detector", "Found", "__version__", "pages"]


def __getattr__(name: str) -> Any:
    """What is public is imported when it is first used: `import dbnet` stays quick."""
    if name in ("Detector", "Found"):
        from dbnet import detector

        return getattr(detector, name)
    if name == "pages":
        from dbnet.inference import inputs

        return inputs.pages
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
