"""The mean of the weights of checkpoints of one training, as a checkpoint.

    python -m recipes.average OUT --checkpoints runs/hard/best.pt runs/wide/best.pt \\
        --bin-thresh 0.3 --box-thresh 0.45

Counters of batch norms come from the last checkpoint, and so do all settings but the thresholds.
"""

import argparse
from pathlib import Path

import torch

from dbnet.checkpoint import load_checkpoint, save_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoints", type=Path, nargs="+", required=True)
    parser.add_argument("--bin-thresh", type=float, required=True)
    parser.add_argument("--box-thresh", type=float, required=True)
    args = parser.parse_args()
    if args.out.exists():
        raise SystemExit(f"{args.out}: is there already; choose another OUT")
    loaded = [load_checkpoint(path) for path in args.checkpoints]
    parts = [payload["ema"] or payload["model"] for payload in loaded]
    mean = {
        name: torch.stack([part[name].double() for part in parts]).mean(dim=0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in parts[-1].items()
    }
    settings = dict(loaded[-1]["config"])
    thresholds = {"bin_thresh": args.bin_thresh, "box_thresh": args.box_thresh}
    settings["postprocess"] = settings["postprocess"] | thresholds
    averaged = {"model": mean, "ema": None, "config": settings}
    save_checkpoint(args.out, loaded[-1] | averaged)
    print(f"{args.out}: mean of checkpoints: {len(parts)}")


if __name__ == "__main__":
    main()
