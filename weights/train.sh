#!/usr/bin/env bash
# How dbnet-efficientnet_lite0.pt was made: ImageNet weights, drawn receipts, then SROIE with drawn
# ones among it, at growing size.
#
#     bash weights/train.sh DIR        # DIR/images/{train,val}, DIR/jsons/{train,val}.json
#
# Stopped, it goes on where it was when it is started again.
set -euo pipefail
root=$(realpath "${1:?the folder of the data is missing}")
cd "$(dirname "$0")/.."

common=(
  --model.encoder efficientnet_lite0 --model.fpn-channels 96
  --augment.flip 0 --augment.color 0.5 --augment.blur 0.25 --augment.noise 0.2 --augment.jpeg 0.3
  --optim.schedule cosine --train.accumulate 1 --data.drawn-level lines
)

stage() {
  local run=runs/$1
  if [ -e "$run/complete" ]; then return; fi
  if [ -e "$run/last.pt" ]; then
    python train.py --train.resume "$run"
  else
    python train.py --train.name "$1" "${common[@]}" "${@:2}"
  fi
  touch "$run/complete"
}

stage drawn --data.drawn-train 3000 --data.drawn-val 40 --data.train-size 384 --data.batch-size 8 \
  --augment.scale 1.0 3.4 --augment.rotate 8 --augment.quarter-turns 0.08 \
  --optim.lr 2e-3 --optim.warmup-epochs 0.1 --train.ema 0.995 --train.epochs 1
stage lines --model.weights runs/drawn/best.pt \
  --data.root "$root" --data.drawn-mix 200 --data.train-size 384 --data.batch-size 8 \
  --augment.scale 1.2 3.4 --augment.rotate 8 --augment.quarter-turns 0.08 \
  --optim.lr 1.5e-3 --optim.warmup-epochs 0.2 --train.ema 0.998 --train.epochs 12 --train.val-every 6
stage large --model.weights runs/lines/best.pt \
  --data.root "$root" --data.drawn-mix 100 --data.image-size 1024 --data.train-size 448 \
  --data.batch-size 6 --augment.scale 1.4 2.7 --augment.rotate 6 --augment.quarter-turns 0.06 \
  --optim.lr 1e-3 --optim.warmup-epochs 0.2 --train.ema 0.995 --train.epochs 4 --train.val-every 4
stage long --model.weights runs/large/best.pt \
  --data.root "$root" --data.drawn-mix 200 --data.image-size 1024 --data.train-size 448 \
  --data.batch-size 6 --augment.scale 1.4 2.7 --augment.rotate 6 --augment.quarter-turns 0.06 \
  --optim.lr 1e-3 --optim.warmup-epochs 0.2 --train.ema 0.998 --postprocess.box-thresh 0.4 \
  --train.epochs 20 --train.val-every 10
python -m dbnet.release --checkpoint runs/long/best.pt --out runs/dbnet-efficientnet_lite0.pt
