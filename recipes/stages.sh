# Sourced by the recipes: a training in several stages, each starting from the weights of the last one.
# A recipe that was stopped continues when it is started again.

# stage NAME FLAGS...: train runs/NAME, or resume it; does nothing if it is complete.
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

# average NAME BIN BOX CHECKPOINTS...: write runs/NAME.pt, their mean, with these thresholds, unless it is there.
average() {
  if [ -e "runs/$1.pt" ]; then return; fi
  python -m recipes.average "runs/$1.pt" --bin-thresh "$2" --box-thresh "$3" --checkpoints "${@:4}"
}
