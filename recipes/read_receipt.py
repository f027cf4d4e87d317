"""Find the text of a receipt and hand each crop to an open recogniser, rapidocr-onnxruntime.

pip install rapidocr-onnxruntime
python -m recipes.read_receipt docs/sample-receipt.jpg [--picture read.jpg]

Prints one line per row. --picture: outlines on the left, the texts where they were read on the
right.
"""

import argparse
from itertools import groupby

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rapidocr_onnxruntime import RapidOCR

from dbnet import Detector, Found


def read(found: Found) -> list[str]:
    """The text of each crop; empty where the recogniser reads none."""
    recognise = RapidOCR()
    texts = []
    for crop in found.crops():
        bgr = np.ascontiguousarray(crop[:, :, ::-1])  # as OpenCV reads files
        lines, _ = recognise(bgr, use_det=False, use_cls=False, use_rec=True)
        texts.append(lines[0][0] if lines else "")
    return texts


def picture(found: Found, texts: list[str]) -> Image.Image:
    height, width = found.size
    sheet = Image.new("RGB", (2 * width, height), "white")
    sheet.paste(found.draw(), (0, 0))
    pen = ImageDraw.Draw(sheet)
    for quad, text in zip(found.quads, texts, strict=True):
        x, y = quad.min(axis=0)
        room = max(float(np.linalg.norm(quad[1] - quad[0])), 1.0)
        size = max(8.0, 0.8 * float(np.linalg.norm(quad[3] - quad[0])))
        font = ImageFont.load_default(size)
        font = ImageFont.load_default(size * min(1.0, room / max(font.getlength(text), 1.0)))
        pen.text((width + x, y), text, fill="black", font=font)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image")
    parser.add_argument("--picture", help="file to write")
    args = parser.parse_args()

    found = Detector()(args.image)
    texts = read(found)
    for _, row in groupby(zip(found.rows, texts, strict=True), key=lambda each: each[0]):
        print("  ".join(text for _, text in row))
    if args.picture:
        picture(found, texts).save(args.picture, quality=80)


if __name__ == "__main__":
    main()
