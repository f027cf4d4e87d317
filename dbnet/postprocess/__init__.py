"""Probability maps to polygons."""

from dbnet.postprocess.postprocessor import DBPostprocessor

__all__ = ["DBPostprocessor"]
