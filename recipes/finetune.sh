#!/usr/bin/env bash
# Teach the released weights your own receipts. Check the data first:
#
#     python train.py --data.root DIR --data.check-only
#     bash recipes/finetune.sh DIR                      # writes runs/mine
#     python predict.py receipt.jpg --checkpoint runs/mine/best.pt --draw
#
# If images are few or similar, add drawn receipts: bash recipes/finetune.sh DIR --data.drawn-mix 200
set -euo pipefail
root=$(realpath "${1:?the folder of your data is missing}")
cd "$(dirname "$0")/.."

flags=(
  --train.name mine --data.root "$root"
  # The network and the weights to start from.
  --model.encoder efficientnet_lite0 --model.fpn-channels 96
  --model.weights weights/dbnet-efficientnet_lite0.pt
  # Windows of 448 pixels from images whose longest side is 1024 at the network.
  --data.image-size 1024 --data.train-size 448 --data.batch-size 6
  # Zoomed, rotated, recompressed; never mirrored.
  --augment.flip 0 --augment.scale 1.1 2.7 --augment.rotate 25 --augment.color 0.5 --augment.jpeg 0.3
  --optim.schedule cosine --train.accumulate 1 --train.ema 0.995
  --postprocess.bin-thresh 0.3 --postprocess.box-thresh 0.5
  --train.epochs 10
)
python train.py "${flags[@]}" "${@:2}"
