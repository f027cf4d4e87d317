"""DBNet text detection for receipts and documents."""

__version__ = "0.2.0"
