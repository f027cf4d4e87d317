#!/usr/bin/env bash
# How weights/dbnet-mobilenetv3_small_075.pt was made, from random weights: 88 minutes on one CPU core.
#
#     bash recipes/mobilenetv3_small_075.sh SROIE
#
# SROIE: the data set in the UFO form, images/{train,val} and jsons/{train,val}.json.
set -euo pipefail
sroie=$(realpath "${1:?the folder of SROIE is missing}")
cd "$(dirname "$0")/.."
source recipes/stages.sh

common=(
  --model.encoder mobilenetv3_small_075 --model.no-pretrained --model.fpn-channels 64
  --augment.flip 0 --augment.color 0.5 --augment.blur 0.25 --augment.noise 0.2 --augment.jpeg 0.3
  --optim.schedule cosine --train.accumulate 1 --data.drawn-level lines
)
stage small \
  --data.root "$sroie" --data.drawn-mix 800 --data.drawn-seed 5 --data.image-size 1024 \
  --data.train-size 416 --data.batch-size 8 \
  --augment.scale 1.1 2.9 --augment.rotate 15 --augment.quarter-turns 0.06 \
  --optim.lr 3e-3 --optim.warmup-epochs 0.5 --train.ema 0.998 --postprocess.box-thresh 0.4 \
  --train.epochs 18 --train.val-every 9

python -m dbnet.release --checkpoint runs/small/best.pt --out runs/dbnet-mobilenetv3_small_075.pt
