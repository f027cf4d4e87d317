"""One detector in all runtimes and precisions, side by side: hmean, size, time of the network.

OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.runtimes --root ROOT [--checkpoint FILE]

Runs the validation images of a data set through PyTorch in fp32 and bf16, and through onnxruntime
in fp32, fp16 and int8, which is calibrated on training images. Every image goes through all of them
in turn. Outlines are scored as they are found; times are medians over images, of the network alone.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.arguments import positive
from dbnet.checkpoint import build_model, load_checkpoint
from dbnet.data.annotations.scan import load_records
from dbnet.evaluation.runtimes import compare
from dbnet.export import figures_table
from dbnet.inference.networks import checkpoint_settings, load_network
from dbnet.inference.onnx_export import write
from dbnet.inference.onnx_precision import calibration_images, lower
from dbnet.inference.torch_network import torch_network
from dbnet.inference.weights import released_weights


def main() -> None:
    args = parse_args()
    records = load_records(args.root, "val", format="auto")[0][: args.images]
    calibration = calibration_images(args.calibrate or args.root / "images" / "train")
    payload = load_checkpoint(args.checkpoint)
    model, settings = build_model(payload), checkpoint_settings(payload, args.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        files = {each: Path(folder, f"{each}.onnx") for each in ("fp32", "fp16", "int8")}
        write(files["fp32"], model, settings)
        lower(files["fp32"], files["fp16"], "fp16", [])
        lower(files["fp32"], files["int8"], "int8", calibration)
        loaded = {
            f"onnxruntime, {name}": load_network(file, provider="cpu")
            for name, file in files.items()
        }
        by_torch = partial(torch_network, model, device=torch.device("cpu"), compiled=False)
        networks = {
            "PyTorch, fp32": by_torch(dtype=None),
            "PyTorch, bf16": by_torch(dtype=torch.bfloat16),
            **{name: each.network for name, each in loaded.items()},
        }
        sizes = [args.checkpoint.stat().st_size] * 2 + [f.stat().st_size for f in files.values()]
        trained = loaded["onnxruntime, fp32"].trained
        with tqdm(total=len(records), unit="image", leave=False) as bar:
            figures = compare(networks, trained, records, bar.update)
    print(
        f"{args.checkpoint}, {args.root}, validation images: {len(records)} at "
        f"{trained.image_size} pixels; images for int8 calibration: {len(calibration)}; "
        f"threads: {torch.get_num_threads()}"
    )
    print(figures_table(figures, sizes))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="data set with a val split")
    parser.add_argument("--checkpoint", type=Path, default=released_weights(), help="a .pt file")
    parser.add_argument("--calibrate", type=Path, help="images for int8; ROOT/images/train")
    parser.add_argument("--images", type=positive, help="the first ones; all if left out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
