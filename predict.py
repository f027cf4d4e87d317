"""Find the text in your own images.

Examples:
    python predict.py receipt.jpg --draw
    python predict.py scans/ "more/*.png" --out found  # folders and globs
    find . -name "*.jpg" | python predict.py           # a list of files
    python predict.py scans/ --crops crops             # an image of each text
    python predict.py scans/ --onnx FILE.onnx          # another runtime
"""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import tyro

from configs import Config, PredictConfig
from dbnet.errors import InputError
from dbnet.inference.weights import find_weights, origin, trained_with
from dbnet.runtime import cli
from dbnet.runtime.files import check_output, new_folder
from dbnet.runtime.run_files import RUNS

WRITTEN = ("predictions.json", "predictions.csv", "drawings")
LINE_ENDS = {ord("\n"): r"\n", ord("\r"): r"\r"}


def parse() -> PredictConfig:
    """Images, and flags over the settings of the weights to use."""
    cli.refuse_torchrun("reads images in one process")

    def default() -> PredictConfig:
        if onnx := cli.value_of("--onnx"):
            from dbnet.inference.networks import trained_settings  # NumPy: slow

            found = trained_settings(Path(onnx))
            cfg = PredictConfig(images=tyro.MISSING, onnx=Path(onnx))
            side, ratio = found.image_size, found.shrink_ratio
            postprocess = found.postprocess
        else:
            checkpoint = find_weights(cli.value_of("--checkpoint"))
            trained = trained_with(checkpoint, Config, may_import_torch=not cli.asks_for_help())
            cfg = PredictConfig(images=tyro.MISSING, checkpoint=checkpoint)
            side = trained.data.image_size
            ratio, postprocess = trained.targets.shrink_ratio, trained.postprocess
        return replace(cfg, image_size=side, shrink_ratio=ratio, postprocess=postprocess)

    return cli.parse(
        PredictConfig,
        default=default,
        description=__doc__,
        config=(tyro.conf.PositionalRequiredArgs,),
    )


if __name__ == "__main__":  # before NumPy and OpenCV, which are slow to import
    with cli.errors_as_lines():
        CFG = parse()

if __name__ != "__mp_main__":  # spawned processes import this file too, and need none of this
    import numpy as np
    from tqdm import tqdm

    from dbnet.data.annotations.files import listed
    from dbnet.detector import Detector, Found
    from dbnet.inference.inputs import Source, find_images, not_read
    from dbnet.reporting.caps import MAX_CANDIDATES, cap_line
    from dbnet.reporting.predictions import (
        Crop,
        crops_csv,
        predictions_csv,
        predictions_dict,
        predictions_json,
    )
    from dbnet.reporting.tables import write_picture, write_text
    from dbnet.runtime.memory import keep_freed_memory


def main(cfg: PredictConfig) -> Path:
    """Writes predictions.json, predictions.csv and drawings/ to the folder it returns, and crops to
    --crops.

    Exits with status 1, all else done, where an image cannot be read, drawn or cut.
    """
    # ---- What to read, where to write
    named = named_images(cfg.images)
    sources = find_images(named)
    if others := not_read(named):
        names = ascii(listed(others))[1:-1]
        print(f"not read: {len(others)}: {names}", file=sys.stderr)
    if not any(source.path.exists() for source in sources):
        where = f"none of {len(sources)} images is" if len(sources) > 1 else "is not"
        raise InputError(f"{sources[0].path}: {where} there; name images that exist")
    out = cfg.out or new_folder(RUNS, "predict")
    check_output(out, WRITTEN)
    if cfg.crops:
        check_output(cfg.crops, ("crops.csv", *folder_names(sources).values()))

    # ---- Find the texts; images become ready in any order
    with tqdm(
        total=len(sources), desc="loading the network", unit="image", leave=False, disable=None
    ) as bar:
        detector = load_detector(cfg)
        used = cfg.onnx or cfg.checkpoint
        where_from = f", {origin(used)}" if used else ""
        bar.write(f"weights: {detector.description}{where_from}".replace(f" {Path.cwd()}/", " "))
        sys.stdout.flush()  # tqdm does not
        bar.set_description("predict")
        started = time.perf_counter()
        found, crops, failures = find_texts(cfg, detector, sources, out, bar)
        ms = 1000 * (time.perf_counter() - started) / len(sources)

    # ---- Write and report
    write(cfg, out, found, crops)
    print_notes(cfg, detector, found)
    texts = sum(len(each.polygons) for each in found.values())
    print(
        f"images: {len(found)}, texts: {texts}, failures: {failures}, ms per image: {ms:.1f}",
        flush=True,
    )
    if failures:
        sys.exit(1)
    return out


def load_detector(cfg: PredictConfig) -> Detector:
    keep_freed_memory()
    return Detector(
        cfg.onnx or cfg.checkpoint,
        device=cfg.device,
        precision=cfg.precision,
        provider=cfg.provider,
        max_side=cfg.image_size,
        tile=cfg.tile,
        postprocess=cfg.postprocess,
        shrink_ratio=cfg.shrink_ratio,
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        compiled=cfg.fast,
    )


def find_texts(
    cfg: PredictConfig, detector: Detector, sources: list[Source], out: Path, bar: tqdm
) -> tuple[dict[str, Found], list[Crop], int]:
    """Detect, draw and cut; returns texts by image and crops, both in the order of the sources, and
    the number of failures, each of which is printed."""
    failures = 0
    by_name: dict[str, Found] = {}
    drawings: list[Future[None]] = []
    cuts: dict[str, Future[list[Crop]]] = {}
    folders = folder_names(sources)
    names = {source.name for source in sources}

    def fail(error: Exception) -> None:
        nonlocal failures
        failures += 1
        line = str(error).rstrip().translate(LINE_ENDS)  # a file's name may hold line ends
        tqdm.write(line, file=sys.stderr)

    def fail_image(index: int, error: InputError) -> None:
        fail(error)
        bar.update()

    with ThreadPoolExecutor(cfg.num_workers) as pool:
        for index, found in detector.stream(sources, on_failure=fail_image):
            name = sources[index].name
            by_name[name] = found
            bar.update()
            if cfg.draw:
                picture = out / "drawings" / drawing_name(name, names)
                drawings.append(pool.submit(draw, found, picture))
            if cfg.crops:
                cuts[name] = pool.submit(cut, found, name, cfg.crops, folders[name])
        for drawing in drawings:
            result_of(drawing, fail)
        crops = {name: result_of(cutting, fail) or [] for name, cutting in cuts.items()}
    in_order = {source.name: by_name[source.name] for source in sources if source.name in by_name}
    return in_order, [crop for name in in_order for crop in crops.get(name, [])], failures


def result_of(task: Future, fail: Callable[[Exception], None]):
    """What the task returned; None, after a report, where a file could not be read or written."""
    if isinstance(error := task.exception(), (InputError, OSError)):
        fail(error)
        return None
    return task.result()


def draw(found: Found, path: Path) -> None:
    write_picture(path, np.asarray(found.draw()))


def cut(found: Found, name: str, root: Path, folder: str) -> list[Crop]:
    """Write FOLDER/0001.png and so on to `root`, in reading order."""
    crops: list[Crop] = []
    for number, picture in enumerate(found.crops(), start=1):
        index = number - 1
        row = int(found.rows[index])
        is_next = bool(crops) and crops[-1].row == row + 1
        file = f"{folder}/{number:04d}.png"
        write_picture(root / file, picture)
        position = crops[-1].position + 1 if is_next else 1
        score = float(found.scores[index])
        crops.append(Crop(file, name, row + 1, position, found.quads[index], score))
    return crops


def write(cfg: PredictConfig, out: Path, found: dict[str, Found], crops: list[Crop]) -> None:
    """Write the files and print their names. Where no image could be read, none is written."""
    if not found:
        if cfg.out is None:
            out.rmdir()
        print("no image could be read: nothing is written")
        return
    predictions = predictions_dict(found)
    write_text(out / "predictions.json", predictions_json(predictions))
    write_text(out / "predictions.csv", predictions_csv(predictions))
    print(f"{out}: predictions.json, predictions.csv{', drawings/' if cfg.draw else ''}")
    if cfg.crops:
        write_text(cfg.crops / "crops.csv", crops_csv(crops))
        print(f"{cfg.crops}: crops.csv, crops: {len(crops)}")


def print_notes(cfg: PredictConfig, detector: Detector, found: dict[str, Found]) -> None:
    """Print what no file shows: images at another scale, detections left out by a limit."""
    if tiled := sum(each.side > detector.max_side for each in found.values()):
        print(f"images in windows at a larger scale, because of small text (--tile): {tiled}")
    if reduced := sum(each.side < detector.max_side for each in found.values()):
        print(f"images at a smaller scale, because of large text (--tile): {reduced}")
    if turned := sum(each.angle != 0 for each in found.values()):
        print(f"images turned, because of tilted lines (--tile): {turned}")
    if capped := {name: each.capped for name, each in found.items() if each.capped}:
        needed = max(len(found[name].polygons) + count for name, count in capped.items())
        print(cap_line(MAX_CANDIDATES, cfg.postprocess.max_candidates, capped, needed))


def folder_names(sources: list[Source]) -> dict[str, str]:
    """The folder of each image's crops: its name without the suffix where that is unique."""
    short = {source.name: str(Path(source.name).with_suffix("")) for source in sources}
    taken = Counter(short.values())
    return {name: folder if taken[folder] == 1 else name for name, folder in short.items()}


def named_images(arguments: tuple[str, ...]) -> list[str]:
    """The arguments, with the lines of standard input in place of "-" or where there are none.

    Raises:
        InputError: nothing is named.
    """
    if not arguments and sys.stdin.isatty():
        raise InputError("name images, folders or globs, or pipe a list of them")
    named = []
    for argument in arguments or ("-",):
        if argument == "-":
            lines = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8).splitlines()
            named += [os.fsdecode(line) for line in lines if line.strip()]
        else:
            named.append(argument)
    if not named:
        raise InputError("the list of images is empty")
    return named


def drawing_name(name: str, names: set[str]) -> str:
    """The file name of an image's drawing: its own name if it is a JPEG, else its name and .jpg.

    `.jpg` is repeated until no other image has that name.
    """
    if Path(name).suffix.lower() in (".jpg", ".jpeg"):
        return name
    drawing = f"{name}.jpg"
    while drawing in names:
        drawing += ".jpg"
    return drawing


if __name__ == "__main__":
    with cli.errors_as_lines():
        main(CFG)
