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
