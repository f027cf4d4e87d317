#!/usr/bin/env bash
# How the weights in this folder were made. DIR holds SROIE: images/{train,val}, jsons/{train,val}.json.
#
#     bash recipes/weights.sh DIR efficientnet_lite0       # from ImageNet weights
#     bash recipes/weights.sh DIR mobilenetv3_small_075    # from random weights
#
# Stopped, it goes on where it was when it is started again.
set -euo pipefail
root=$(realpath "${1:?the folder of the data is missing}")
encoder=${2:?the encoder is missing}
cd "$(dirname "$0")/.."

common=(
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

case $encoder in
efficientnet_lite0)
  common+=(--model.encoder efficientnet_lite0 --model.fpn-channels 96)
  stage drawn --data.drawn-train 3000 --data.drawn-val 40 --data.train-size 384 --data.batch-size 8 \
    --augment.scale 1.0 3.4 --augment.rotate 8 --augment.quarter-turns 0.08 \
    --optim.lr 2e-3 --optim.warmup-epochs 0.1 --train.ema 0.995 --train.epochs 1
  stage lines --model.weights runs/drawn/best.pt \
    --data.root "$root" --data.drawn-mix 200 --data.train-size 384 --data.batch-size 8 \
    --augment.scale 1.2 3.4 --augment.rotate 8 --augment.quarter-turns 0.08 \
    --optim.lr 1.5e-3 --optim.warmup-epochs 0.2 --train.ema 0.998 --train.epochs 12 --train.val-every 6
  common+=(
    --data.root "$root" --data.image-size 1024 --data.train-size 448 --data.batch-size 6
    --augment.quarter-turns 0.06 --optim.lr 1e-3 --optim.warmup-epochs 0.2
  )
  stage large --model.weights runs/lines/best.pt --data.drawn-mix 100 \
    --augment.scale 1.4 2.7 --augment.rotate 6 \
    --train.ema 0.995 --train.epochs 4 --train.val-every 4
  common+=(--train.ema 0.998 --postprocess.box-thresh 0.4)
  stage long --model.weights runs/large/best.pt --data.drawn-mix 200 \
    --augment.scale 1.4 2.7 --augment.rotate 6 --train.epochs 20 --train.val-every 10
  # Papers lie askew: the same again, turned by up to 25 degrees.
  stage askew --model.weights runs/long/best.pt --data.drawn-mix 300 --data.drawn-seed 5 \
    --augment.scale 1.1 2.7 --augment.rotate 25 --train.epochs 14 --train.val-every 7
  last=askew
  ;;
mobilenetv3_small_075)
  common+=(--model.encoder mobilenetv3_small_075 --model.no-pretrained --model.fpn-channels 64)
  stage small \
    --data.root "$root" --data.drawn-mix 800 --data.drawn-seed 5 --data.image-size 1024 \
    --data.train-size 416 --data.batch-size 8 \
    --augment.scale 1.1 2.9 --augment.rotate 15 --augment.quarter-turns 0.06 \
    --optim.lr 3e-3 --optim.warmup-epochs 0.5 --train.ema 0.998 --postprocess.box-thresh 0.4 \
    --train.epochs 18 --train.val-every 9
  last=small
  ;;
*)
  echo "$encoder: weights were made of efficientnet_lite0 and mobilenetv3_small_075" >&2
  exit 2
  ;;
esac
python -m dbnet.release --checkpoint runs/$last/best.pt --out "runs/dbnet-$encoder.pt"
