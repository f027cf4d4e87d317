"""Recognises formats that are not supported, for error messages."""

import re
from typing import Any

from dbnet.data.annotations.heads import Lines
from dbnet.data.annotations.xml_files import Element

# A key of a JSON object, or of the first object in a JSON list, and whose it is.
_OBJECT_KEYS = {
    "data_list": "MMOCR 1.x",
    "imgToAnns": "COCO-Text or TextOCR",
    "valid_line": "CORD",
    "form": "FUNSD",
    "schema_ref": "V7 Darwin",
    "objects": "Supervisely",
    "items": "Datumaro",
    "vid_list": "VIA 3",
}
_LIST_KEYS = {"bbox": "Label Studio JSON-MIN", "annotations": "CreateML", "labels": "Labelbox"}
_ROOTS = {
    "PcGts": "PAGE XML",
    "alto": "ALTO",
    "tagset": "ICDAR 2003",
    "annotations": "CVAT for video",
}
_LINES = {  # how a text file begins
    r"#?filename,file_size,file_attributes,": "VIA CSV",
    r"imagesource:|gsd:": "DOTA",
    r"(\d+\.?\d* ){8}\S+ [012]$": "DOTA",
    r"x: \[\[": "Total-Text",
}


def foreign_title(head: Any) -> str | None:
    """Whose format a file's head is of; None where that is not known."""
    if isinstance(head, Element):
        return _ROOTS.get(head.tag.split(":")[-1])
    if isinstance(head, Lines):
        return next((title for start, title in _LINES.items() if re.match(start, head[0])), None)
    if isinstance(head, list):
        members = head[0] if head and isinstance(head[0], dict) else {}
        parts = [v[0] for v in members.values() if isinstance(v, list) and v]
        if any(isinstance(part, dict) and "original_width" in part for part in parts):
            return "Label Studio JSON-MIN"
        return next((title for key, title in _LIST_KEYS.items() if key in members), None)
    if not isinstance(head, dict):
        return None
    for key, title in _OBJECT_KEYS.items():
        if key in head:
            return title
    first = next(iter(head.values()), None)
    if isinstance(first, list) and first and isinstance(first[0], dict) and "points" in first[0]:
        return "LSVT or ArT"
    annotations = head.get("annotations")
    if isinstance(annotations, list) and annotations and isinstance(annotations[0], dict):
        return "HierText" if "paragraphs" in annotations[0] else None
    return None
