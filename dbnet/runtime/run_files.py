"""The names of the files in a run folder, and of the folder that holds the runs."""

from pathlib import Path

RUNS = Path("runs")
LAST = "last.pt"  # the state of the training
BEST = "best.pt"  # the weights with the best CLEval hmean on the validation images
CONFIG = "config.json"  # the settings, and what was built
METRICS = "metrics.jsonl"  # figures of each epoch, one JSON object per line
