#!/usr/bin/env bash
# A first training: drawn receipts, no data needed, 4 to 12 minutes on two CPU cores.
#
#     bash recipes/quickstart.sh                        # writes runs/first
#     bash recipes/quickstart.sh --train.epochs 4       # more flags may follow
set -euo pipefail
cd "$(dirname "$0")/.."

flags=(
  --train.name first
  # 256 receipts to train on, 40 others to validate on. Loader processes: one per core.
  --data.drawn-train 256 --data.drawn-val 40 --data.num-workers 2
  # Windows of 320 pixels from receipts of 640: four times as fast as whole ones.
  --data.train-size 320 --augment.crop 1
  # Text is never mirrored: the flip of the defaults is for photos of scenes.
  --augment.flip 0
  # A narrow pyramid, small batches and a step after each: few images need many steps.
  --model.fpn-channels 64 --data.batch-size 4 --train.accumulate 1
  # A short cosine schedule instead of 200 epochs.
  --optim.lr 2e-3 --optim.schedule cosine --train.epochs 8 --train.val-every 2
)
python train.py "${flags[@]}" "$@"
