"""Find the text in your own images.

python predict.py receipt.jpg --draw
python predict.py scans/ "more/*.png" --out found       # folders and globs
find . -name "*.jpg" | python predict.py                # a list of files
python predict.py scans/ --onnx FILE.onnx               # by onnxruntime
"""

from __future__ import annotations

import codecs
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tyro

from configs import Config, PredictConfig
from dbnet.errors import InputError
from dbnet.inference.weights import find_weights, origin, trained_with
from dbnet.runtime import cli
from dbnet.runtime.files import check_output, new_folder
from dbnet.section import from_stored

LINE_ENDS = {ord("\n"): r"\n", ord("\r"): r"\r"}


def parse() -> PredictConfig:
    """Images, and flags over the settings of the weights to use."""
    cli.refuse_torchrun("reads images in one process")

    def default() -> PredictConfig:
        if onnx := cli.value_of("--onnx"):
            source, trained = {"onnx": Path(onnx)}, exported_with(Path(onnx))
        else:
            checkpoint = find_weights(cli.value_of("--checkpoint"))
            trained = trained_with(checkpoint, Config, may_import_torch=not cli.asks_for_help())
            source = {"checkpoint": checkpoint}
        return PredictConfig(
            images=tyro.MISSING,
            **source,
            image_size=trained.data.image_size,
            shrink_ratio=trained.targets.shrink_ratio,
            postprocess=trained.postprocess,
        )

    return cli.parse(
        PredictConfig,
        default=default,
        description=__doc__,
        config=(tyro.conf.PositionalRequiredArgs,),
    )


def exported_with(path: Path) -> Config:
    """The settings inside an ONNX file, the others at their defaults."""
    from dbnet.inference.onnx import OnnxNetwork

    found = OnnxNetwork(path=path).settings
    sections = {
        "data": {"image_size": found["image_size"]},
        "targets": {"shrink_ratio": found["shrink_ratio"]},
        "postprocess": found["postprocess"],
    }
    return from_stored(Config, sections, path)


if __name__ == "__main__":  # before PyTorch, which takes seconds to import
    with cli.errors_as_lines():
        CFG = parse()

if __name__ != "__mp_main__":  # not in processes that are started beside this one
    from tqdm import tqdm

    from dbnet.checkpoint import build_model, load_checkpoint
    from dbnet.data.images import decode_image
    from dbnet.inference.inputs import find_images
    from dbnet.inference.onnx import OnnxNetwork
    from dbnet.inference.pipeline import detect, torch_network
    from dbnet.postprocess.postprocessor import DBPostprocessor
    from dbnet.reporting.pictures import draw_found
    from dbnet.reporting.tables import (
        predictions_csv,
        predictions_json,
        write_json,
        write_picture,
        write_text,
    )
    from dbnet.runtime.device import (
        autocast_dtype,
        keep_freed_memory,
        resolve_device,
        resolve_precision,
    )


def main(cfg: PredictConfig) -> Path:
    """Writes predictions.json, predictions.csv and drawings/ to the folder it returns.

    Exits with status 1, all else done, where an image cannot be read or drawn.
    """
    # ---- What to read, where to write
    sources = find_images(named_images(cfg.images))
    out = cfg.out or new_folder(Path("runs"), "predict")
    check_output(out, ("predictions.json", "predictions.csv", "drawings"))

    # ---- The network, and what makes polygons of its maps
    keep_freed_memory()
    if cfg.onnx:
        network = OnnxNetwork(path=cfg.onnx)
        print(f"{cfg.onnx} on cpu in fp32, by onnxruntime", flush=True)
    else:
        device = resolve_device(cfg.device)
        precision = resolve_precision(cfg.precision, device)
        checkpoint = cfg.checkpoint or find_weights(None)
        network = torch_network(
            build_model(load_checkpoint(checkpoint)),
            device=device,
            dtype=autocast_dtype(precision),
            compiled=cfg.fast,
        )
        print(
            f"weights: {checkpoint}, {origin(checkpoint)}, on {device} in {precision}", flush=True
        )
    postprocess = DBPostprocessor(cfg.postprocess, shrink_ratio=cfg.shrink_ratio)

    # ---- Every image, in whatever order batches are ready
    failures = 0
    found, drawings = {}, []

    def report(error: Exception) -> None:
        nonlocal failures
        failures += 1
        line = str(error).rstrip().translate(LINE_ENDS)  # a file's name may hold some
        tqdm.write(line, file=sys.stderr)

    names = {source.name for source in sources}

    def draw(path: Path, name: str, polygons: list) -> None:
        picture = draw_found(decode_image(path), polygons)
        write_picture(out / "drawings" / drawing_name(name, names), picture)

    started = time.perf_counter()
    with (
        ThreadPoolExecutor(cfg.num_workers) as pool,
        tqdm(total=len(sources), desc="predict", unit="image", leave=False, disable=None) as bar,
    ):
        for source, detections in detect(
            sources,
            network,
            postprocess,
            image_size=cfg.image_size,
            batch_size=cfg.batch_size,
            pool=pool,
            on_failure=lambda error: (report(error), bar.update()),
        ):
            found[source.name] = detections
            bar.update()
            if cfg.draw:
                drawings.append(pool.submit(draw, *source, detections.polygons))
        for drawing in drawings:
            if isinstance(error := drawing.exception(), (InputError, OSError)):
                report(error)
            else:
                drawing.result()
    seconds = time.perf_counter() - started

    # ---- Keep and tell
    found = {source.name: found[source.name] for source in sources if source.name in found}
    predictions = predictions_json(found)
    write_json(out / "predictions.json", predictions)
    write_text(out / "predictions.csv", predictions_csv(predictions))
    texts = sum(len(detections.polygons) for detections in found.values())
    capped = sum(detections.capped for detections in found.values())
    if capped:
        print(f"{capped} more texts are beyond --postprocess.max-candidates")
    print(f"{out}: predictions.json, predictions.csv{', drawings/' if cfg.draw else ''}")
    print(
        f"images: {len(found)}, texts: {texts}, failures: {failures}, "
        f"ms per image: {1000 * seconds / len(sources):.1f}",
        flush=True,
    )
    if failures:
        sys.exit(1)
    return out


def named_images(words: tuple[str, ...]) -> list[str]:
    """The words themselves, with the lines of a pipe in place of "-" or of no word at all.

    Raises:
        ValueError: nothing is named.
    """
    if not words and sys.stdin.isatty():
        raise InputError("name images, folders or globs, or pipe a list of them")
    named = []
    for word in words or ("-",):
        if word == "-":
            lines = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8).splitlines()
            named += [os.fsdecode(line) for line in lines if line.strip()]
        else:
            named.append(word)
    if not named:
        raise InputError("the list of images is empty")
    return named


def drawing_name(name: str, names: set[str]) -> str:
    """A JPEG is drawn under its own name, another image under its name with .jpg behind it: as
    often as it takes to be no other image's name."""
    if Path(name).suffix.lower() in (".jpg", ".jpeg"):
        return name
    drawing = f"{name}.jpg"
    while drawing in names:
        drawing += ".jpg"
    return drawing


if __name__ == "__main__":
    with cli.errors_as_lines():
        main(CFG)
