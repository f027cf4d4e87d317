"""Data of the released weights: receipts to train on, some held out, hard negatives.

    python recipes/receipt_mix.py OUT --receipts SROIE SROIE_MORE --scenes ICDAR2015

Every folder is a data set in the UFO form (images/train, jsons/train.json). OUT gets
- train: all receipts but the held-out ones, and SCENES photos whose texts are all ignored: what is
  no text in them is learned as background;
- val: the held-out receipts, to choose thresholds on. They are part of no reported figure.

SROIE does not annotate handwriting, stamps and some lines. With --ignore-unlabelled the PP-OCRv4
models of rapidocr-onnxruntime (pip install it) look for such text in the training receipts, and
what they read becomes an ignored text instead of background.
"""

import argparse
import json
import os
import random
import shutil
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    args = parse_args()
    if args.out.exists():
        raise SystemExit(f"{args.out}: is there already; choose another OUT")
    if args.ignore_unlabelled and find_spec("rapidocr_onnxruntime") is None:
        raise SystemExit("--ignore-unlabelled needs rapidocr-onnxruntime; pip install it")
    generator = random.Random(args.seed)
    splits: dict[str, dict] = {"train": {}, "val": {}}
    for split in splits:
        (args.out / "images" / split).mkdir(parents=True)
    for root in args.receipts:
        images, names = shuffled(root, generator)
        held_out = round(args.held_out * len(names))
        for index, name in enumerate(names):
            split = "val" if index < held_out else "train"
            copy(root, name, args.out / "images" / split)
            splits[split][name] = images[name]
    if args.ignore_unlabelled:
        ignore_unlabelled(args.out / "images" / "train", splits["train"])
    for root in args.scenes:
        images, names = shuffled(root, generator)
        for name in names[: args.scene_count]:
            copy(root, name, args.out / "images" / "train")
            for word in images[name]["words"].values():
                word["illegibility"] = True
            splits["train"][name] = images[name]
    (args.out / "jsons").mkdir()
    for split, images in splits.items():
        path = args.out / "jsons" / f"{split}.json"
        path.write_text(json.dumps({"images": images}), encoding="utf-8")
        print(f"{path}: images: {len(images)}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--receipts", type=Path, nargs="+", required=True)
    parser.add_argument("--scenes", type=Path, nargs="*", default=[])
    parser.add_argument("--held-out", type=float, default=0.083, help="share of the receipts")
    parser.add_argument("--scene-count", type=int, default=250)
    parser.add_argument("--ignore-unlabelled", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def shuffled(root: Path, generator: random.Random) -> tuple[dict, list[str]]:
    """The annotations of a training split, and its image names in random order."""
    images = json.loads((root / "jsons" / "train.json").read_text(encoding="utf-8"))["images"]
    names = sorted(images)
    generator.shuffle(names)
    return images, names


def copy(root: Path, name: str, folder: Path) -> None:
    """Copy an image. A name that is there already is refused."""
    target = folder / name
    if target.exists():
        raise SystemExit(f"{target}: exists; two data sets have an image of this name")
    shutil.copy(root / "images" / "train" / name, target)


def ignore_unlabelled(folder: Path, images: dict) -> None:
    """Add what PP-OCRv4 reads outside of all annotated texts, as illegible words.

    Rows of `*`, `-` or `=` stay background: at least two letters or digits must be read.
    """
    import cv2
    import numpy as np
    from rapidocr_onnxruntime import RapidOCR
    from tqdm import tqdm

    from dbnet.inference.crops import crop_quads

    threads = len(os.sched_getaffinity(0))  # else one for each core of the machine
    teacher = RapidOCR(intra_op_num_threads=threads)
    added = 0
    for name, entry in tqdm(images.items(), "looking for unlabelled text", unit="image"):
        image = cv2.imread(str(folder / name))
        labelled = np.zeros(image.shape[:2], np.uint8)
        for word in entry["words"].values():
            cv2.fillPoly(labelled, [np.round(word["points"]).astype(np.int32)], 1)
        unlabelled = []
        for box in teacher(image, use_cls=False, use_rec=False)[0] or []:
            inside = np.zeros_like(labelled)
            cv2.fillPoly(inside, [np.round(box).astype(np.int32)], 1)
            if (labelled & inside).sum() < 0.2 * inside.sum():
                unlabelled.append(box)
        crops = crop_quads(image, np.float32(unlabelled).reshape(-1, 4, 2))
        for box, crop in zip(unlabelled, crops, strict=True):
            [(text, score)] = teacher(crop, use_det=False, use_cls=False)[0]
            if score < 0.5 or sum(map(str.isalnum, text)) < 2:
                continue
            word = {"points": np.float32(box).tolist(), "transcription": text, "illegibility": True}
            entry["words"][f"unlabelled{added}"] = word
            added += 1
    print(f"{folder}: unlabelled texts, now ignored: {added}")


if __name__ == "__main__":
    main()
