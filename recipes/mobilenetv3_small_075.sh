#!/usr/bin/env bash
# How weights/dbnet-mobilenetv3_small_075.pt was made, from random weights: about 4 hours on one CPU core.
#
#     python recipes/receipt_mix.py MIX --receipts SROIE SROIE_MORE --scenes ICDAR2015 --ignore-unlabelled
#     bash recipes/mobilenetv3_small_075.sh SROIE MIX PHOTOS TEXTURES
#
# SROIE: the data set in the UFO form, images/{train,val} and jsons/{train,val}.json.
set -euo pipefail
sroie=$(realpath "${1:?the folder of SROIE is missing}")
mix=$(realpath "${2:?the folder of receipt_mix.py is missing}")
photos=$(realpath "${3:?a folder of photos is missing}")
textures=$(realpath "${4:?a folder of paper textures is missing}")
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

common+=(
  --data.root "$mix" --data.cache none --data.drawn-style hard
  --data.drawn-backgrounds "$photos" --data.drawn-textures "$textures"
  --data.image-size 1024 --data.train-size 448 --data.batch-size 8
  --augment.color 0.6 --augment.blur 0.2 --augment.noise 0.25 --augment.jpeg 0.35
  --augment.jpeg-quality 20 85 --augment.quarter-turns 0.03 --augment.defocus 0.1 --augment.shade 0.2
  --augment.show-through 0.04 --augment.crease 0.1 --augment.fade 0.15
  --optim.warmup-epochs 0.1 --train.ema 0.998
  --postprocess.bin-thresh 0.25 --postprocess.box-thresh 0.4
)
stage small_wide --model.weights runs/small/best.pt --data.drawn-mix 600 --data.drawn-seed 31 \
  --augment.scale 0.8 4.0 --augment.rotate 10 --augment.stretch 0.8 1.25 \
  --augment.low-resolution 0.25 --augment.invert 0.06 \
  --optim.lr 2e-3 --train.epochs 8 --train.val-every 8

# ---- Tilted receipts, smaller text, wide letters, black blocks and card data; averaged with the weights before
tilted=(
  --data.drawn-mix 800 --augment.scale 0.65 4.0 --augment.rotate 30 --augment.stretch 0.75 1.5
  --augment.low-resolution 0.2 --augment.invert 0.08
)
stage small_tilted --model.weights runs/small_wide/best.pt "${tilted[@]}" --data.drawn-seed 91 \
  --optim.lr 2e-3 --train.epochs 9 --train.val-every 3
stage small_tilted_2 --model.weights runs/small_tilted/last.pt "${tilted[@]}" --data.drawn-seed 92 \
  --optim.lr 1.5e-3 --train.epochs 7 --train.val-every 7
average small_final 0.2 0.4 \
  runs/small_wide/best.pt runs/small_tilted_2/last.pt runs/small_tilted_2/last.pt
python -m dbnet.release --checkpoint runs/small_final.pt --out runs/dbnet-mobilenetv3_small_075.pt
