"""From image file to polygons, ours and off-the-shelf detectors: time and accuracy.

python -m benchmarks.detectors --root ROOT [--checkpoint FILE] [--images N] [--repeats 3]

Ours runs by PyTorch and, where the packages onnx and onnxruntime are installed, by onnxruntime.
The others are the PP-OCRv4 mobile detector of rapidocr-onnxruntime and the PP-OCRv6 small detector
of rapidocr (3.10), with those packages' own settings. All see the same images one at a time, with
equally many threads, and are scored by the same metrics against the same truth. In every repeat
each goes over all images once. Times are medians over the repeats of each image, then the median
over the images and its 10 % and 90 % quantiles; CPU time is that of all threads together, which a
loaded machine disturbs less. Ours takes the checkpoint's settings; without one the weights are
random.
"""

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.arguments import positive
from configs import Config
from dbnet.checkpoint import build_model, load_checkpoint
from dbnet.data.annotations.scan import load_records
from dbnet.data.images import decode_image, decode_reduced
from dbnet.inference.onnx import OnnxNetwork
from dbnet.inference.onnx_export import write
from dbnet.inference.pipeline import fitted
from dbnet.inference.torch_network import torch_network
from dbnet.inference.windows import Network
from dbnet.metrics import build_metrics
from dbnet.model.dbnet import DBNet
from dbnet.postprocess.frames import to_original
from dbnet.postprocess.postprocessor import DBPostprocessor
from dbnet.reporting.tables import metrics_table, table
from dbnet.runtime.device import autocast_dtype, resolve_precision
from dbnet.runtime.memory import keep_freed_memory
from dbnet.section import from_dict, to_dict
from dbnet.settings import MetricConfig
from dbnet.structures import Record
from dbnet.training.scoring import compute_all

Detector = Callable[[Path], list[np.ndarray]]  # to n x float32 (P, 2), original pixels, upright


def main() -> None:
    args = parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    detectors = ours(args.checkpoint)
    others = {"rapidocr_onnxruntime": pp_ocr_v4, "rapidocr": pp_ocr_v6}
    for package, detector in others.items():
        if importlib.util.find_spec(package):
            detectors |= detector(args.threads)
        else:
            print(f"{package.replace('_', '-')} is not installed: its detector is left out")
    records = load_records(args.root, "val", format="auto")[0][: args.images]
    print(f"images: {len(records)}, repeats: {args.repeats}, threads: {args.threads}", flush=True)
    wall, cpu, found = measure(detectors, records, args.repeats)
    report("ms per image", wall)
    report("CPU ms per image", cpu)
    print(metrics_table({name: score(records, polygons) for name, polygons in found.items()}))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="data set with a val split")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--images", type=positive, help="the first ones only")
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    return parser.parse_args()


def ours(checkpoint: Path | None) -> dict[str, Detector]:
    """This project's detector, with each runtime that is installed.

    onnxruntime computes in fp32, PyTorch in the default precision of predict.py.
    """
    cfg = Config()
    model = DBNet(encoder=cfg.model.encoder, fpn_channels=cfg.model.fpn_channels)
    if checkpoint:
        payload = load_checkpoint(checkpoint)
        cfg, model = from_dict(Config, payload["config"]), build_model(payload)
    device = torch.device("cpu")
    precision = resolve_precision("auto", device)
    by_torch = torch_network(model, device=device, dtype=autocast_dtype(precision), compiled=False)
    size = cfg.data.image_size
    print(f"ours: {checkpoint or 'random weights'}, {size} pixels, {precision}, {cfg.postprocess}")
    detectors = {"ours, PyTorch": detector_of(by_torch, cfg)}
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        detectors["ours, onnxruntime"] = detector_of(by_onnxruntime(model, cfg), cfg)
    else:
        print("onnx and onnxruntime are not installed: ours runs by PyTorch alone")
    return detectors


def by_onnxruntime(model: DBNet, cfg: Config) -> Network:
    """The exported network on onnxruntime. The file is needed only to load it."""
    settings = {
        "image_size": cfg.data.image_size,
        "shrink_ratio": cfg.targets.shrink_ratio,
        "postprocess": to_dict(cfg.postprocess),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.onnx")
        write(file, model, settings)
        return OnnxNetwork(path=file, provider="cpu")


def detector_of(network: Network, cfg: Config) -> Detector:
    """The detector as predict.py runs it with --tile off."""
    postprocess = DBPostprocessor(cfg.postprocess, shrink_ratio=cfg.targets.shrink_ratio)

    def detect(path: Path) -> list[np.ndarray]:
        sample = fitted(partial(decode_reduced, path), cfg.data.image_size)
        prob_maps = network(sample.image.transpose(2, 0, 1)[None])
        return to_original(postprocess(prob_maps[0, 0]), sample.matrix, sample.orig_size).polygons

    return detect


def pp_ocr_v4(threads: int) -> dict[str, Detector]:
    """The detector of rapidocr-onnxruntime alone, with the settings of its config.yaml."""
    import rapidocr_onnxruntime as rapidocr
    from rapidocr_onnxruntime.ch_ppocr_det import TextDetector
    from rapidocr_onnxruntime.utils import read_yaml

    folder = Path(rapidocr.__file__).parent
    settings = read_yaml(folder / "config.yaml")["Det"] | {"intra_op_num_threads": threads}
    print(f"PP-OCRv4: {settings}")
    detector = TextDetector(settings | {"model_path": str(folder / settings["model_path"])})

    def detect(path: Path) -> list[np.ndarray]:
        quads, _ = detector(cv2.cvtColor(decode_image(path), cv2.COLOR_RGB2BGR))
        return [] if quads is None else list(quads)

    return {"PP-OCRv4": detect}


def pp_ocr_v6(threads: int) -> dict[str, Detector]:
    """The detector of rapidocr alone, with the settings of its config.yaml."""
    from rapidocr import RapidOCR

    engine = RapidOCR(params={"EngineConfig.onnxruntime.intra_op_num_threads": threads})
    print(f"PP-OCRv6 small: {dict(engine.cfg.Det)}")

    def detect(path: Path) -> list[np.ndarray]:
        pixels = cv2.cvtColor(decode_image(path), cv2.COLOR_RGB2BGR)
        quads = engine(pixels, use_det=True, use_cls=False, use_rec=False).boxes
        return [] if quads is None else [np.asarray(quad, np.float32) for quad in quads]

    return {"PP-OCRv6 small": detect}


def measure(
    detectors: dict[str, Detector], records: Sequence[Record], repeats: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, list[list[np.ndarray]]]]:
    """Seconds and CPU seconds (repeats, images), and polygons of each image, by detector."""
    wall = {name: np.zeros((repeats, len(records))) for name in detectors}
    cpu = {name: np.zeros((repeats, len(records))) for name in detectors}
    found: dict[str, list[list[np.ndarray]]] = {}
    for detect in detectors.values():
        detect(Path(records[0].image_path))  # the first call also allocates and plans
    for repeat in range(repeats):
        for name, detect in detectors.items():
            found[name] = []
            for index, record in enumerate(records):
                started = time.perf_counter(), time.process_time()
                found[name].append(detect(Path(record.image_path)))
                wall[name][repeat, index] = time.perf_counter() - started[0]
                cpu[name][repeat, index] = time.process_time() - started[1]
    return wall, cpu, found


def report(title: str, seconds: dict[str, np.ndarray]) -> None:
    """Milliseconds per image, and how many times as long as the first one's."""
    per_image = {name: 1e3 * np.median(runs, axis=0) for name, runs in seconds.items()}
    first = next(iter(per_image.values()))
    rows = []
    for name, ms in per_image.items():
        figures = [*np.percentile(ms, [50, 10, 90]), ms.mean()]
        ratio = np.median(ms / first)
        rows.append([name, *(f"{value:.1f}" for value in figures), f"{ratio:.2f}"])
    print(table([title, "median", "10 %", "90 %", "mean", "ratio, median"], rows))


def score(records: Sequence[Record], found: list[list[np.ndarray]]) -> dict[str, float]:
    """CLEval and IoU, as evaluate.py has them."""
    metrics = build_metrics(MetricConfig())
    for record, polygons in zip(records, found, strict=True):
        for metric in metrics.values():
            metric.update(polygons, record.polygons, record.ignored, record.texts)
    return compute_all(metrics, {name: metric.state() for name, metric in metrics.items()})


if __name__ == "__main__":
    main()
