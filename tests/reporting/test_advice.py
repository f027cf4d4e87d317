"""Recommendations follow from the figures and agree with the verdicts."""

import itertools
import re

import pytest

from dbnet.reporting.advice import advice
from dbnet.reporting.findings import HOST, LOADER, findings
from tests.reporting import profiles
from tests.reporting.profiles import FORWARD, SCORING, profile

WAITING = profiles.LOADER | {"worker/decode": 12.0, "worker/transform": 1.0, "worker/targets": 2.0}


def test_a_slow_loader_gets_a_cache_and_free_cores():
    lines, decision = advice(profile(WAITING))
    assert lines == [
        "`--data.cache all` saves up to 6.50 s of 10.00 s (65%): images and target maps are read, "
        "not made.",
        "`--data.num-workers 4` saves up to 5.00 s of 10.00 s (50%): the main process waits for "
        "the loader, and 13 cores are free.",
    ]
    assert decision == (
        "**Try `--data.cache all`** and profile again: it saves up to 65% of the time."
    )
    lines, _ = advice(profile(WAITING, data={"cache": "none"}))
    assert lines[0].startswith("`--data.cache all` saves up to 7.50 s"), "target maps too"
    [line], _ = advice(profile(WAITING, data={"cache": "all"}))
    assert line.startswith("`--data.num-workers 4`")
    [line], _ = advice(profile(WAITING, data={"cache": "all"}, loader_workers=0))
    assert line.startswith("`--data.num-workers 1` saves up to 2.00 s"), "hidden by the rest, 2 s"


def test_a_slow_loader_without_cores_or_caches_to_give_is_told_why():
    full = {"data": {"cache": "all"}, "device": "cpu", "cores": 3, "threads": 3}
    lines, decision = advice(profile(WAITING, **full))
    assert lines == []
    assert decision == (
        "**Leave the settings as they are**: no flag saves time without a cost. "
        "The loader takes what it needs, most "
        "of it in decode (120.0 ms an image), and no core is left for more processes."
    )


def test_scoring_gets_as_many_processes_as_it_needs_and_cores_allow():
    [line], decision = advice(profile(SCORING))
    assert line == (
        "`--data.scoring-workers 3` saves up to 6.90 s of 10.00 s (69%): post-process and metrics "
        "run in parallel with the rest, on other cores."
    )
    assert decision.startswith("**Try `--data.scoring-workers 3`**")
    [line], _ = advice(profile(SCORING, cores=4))
    assert line.startswith("`--data.scoring-workers 1` saves up to 3.10 s"), "one core is free"
    beside = {"data_wait": 0.1, "forward": 4.0, "score_wait": 5.9}
    beside |= {"worker/postprocess": 12.0, "worker/metric": 6.0}
    [line], _ = advice(profile(beside, scoring_workers=2))
    assert line.startswith("`--data.scoring-workers 5` saves up to 5.90 s")


def test_scoring_on_a_processor_whose_cores_compute_is_told_why():
    lines, decision = advice(profile(SCORING, device="cpu", cores=2, threads=2, loader_workers=0))
    assert lines == []
    assert decision == (
        "**Leave the settings as they are**: no flag saves time without a cost. "
        "Scoring takes 69.0 ms an image, and "
        "no core is left for more processes: the others compute."
    )


def test_a_validation_at_its_ceiling_has_only_its_network_left():
    lines, decision = advice(profile(FORWARD, device="cpu", cores=2, threads=2))
    assert lines == [
        "`--device cuda` saves up to 9.30 s of 10.00 s (93%): on a machine with a GPU; the rest "
        "stays, 0.70 s on this one.",
        "`--data.image-size 480` saves up to 4.07 s of 10.00 s (41%): fewer pixels, and small "
        "texts are missed: compare figures with evaluate.py.",
    ]
    assert decision == (
        "**Leave the settings as they are**. 93% of the time is the forward pass itself. Each "
        "flag above has a cost."
    )
    released = profile(FORWARD, device="cpu", checkpoint="weights/dbnet-efficientnet_lite0.pt")
    flags = [line.split("`")[1] for line in advice(released)[0]]
    assert "--checkpoint weights/dbnet-mobilenetv3_small_075.pt" in flags


def test_what_costs_no_accuracy_is_decided_for():
    lines, decision = advice(profile(FORWARD, precision="fp32"))
    assert lines[0].startswith("`--precision bf16` saves up to 4.65 s")
    assert decision.startswith("**Try `--precision bf16`**")
    _, decision = advice(profile(FORWARD, device="cpu", cores=4, threads=1))
    assert decision.startswith("**Try `OMP_NUM_THREADS=4`**")
    emulated = profile(FORWARD, precision="fp32", device="cpu", cores=1)
    emulated["run"]["auto_precision"] = "fp32"
    assert not [line for line in advice(emulated)[0] if "bf16" in line]


def test_no_single_part_is_large():
    small = {"data_wait": 0.6, "forward": 8.0, "loss": 0.6, "postprocess": 0.4, "metric": 0.4}
    _, decision = advice(profile(small, device="cpu", cores=1, threads=1))
    assert decision == (
        "**Leave the settings as they are**: no flag saves time without a cost. "
        "No part except the device takes 10% of "
        "the time. The rest is mostly data_wait 0.60 s, loss 0.60 s, postprocess 0.40 s. "
        "Each flag above has a cost."
    )


def test_a_busy_machine_or_few_batches_ask_to_measure_again():
    busy = {"performance/waited_for_core": 0.5, "performance/waited_for_core_alone": 0.61}
    lines, decision = advice(profile(SCORING, **busy))
    assert lines == [] and decision == (
        "**Measure again on a quiet machine**. Other programs had the main process' core for 61% "
        "of the time (threshold 5%): how much a flag would save is unknown."
    )
    lines, decision = advice(profile(SCORING, **{"performance/val_num_batches": 1}))
    assert lines == [] and decision == (
        "**Measure more batches**. A decision needs 5, this run had 1: take more images or a "
        "smaller --data.batch-size."
    )


def test_growing_memory_comes_first():
    memory = [500 + 0.5 * step for step in range(40)]
    lines, decision = advice(profile(SCORING, series={"own_mb": memory}))
    assert lines[0].startswith("`--data.num-workers 0 --data.scoring-workers 0`, then")
    assert lines[1].startswith("`--data.scoring-workers 3`")
    assert decision.startswith("**Find what keeps memory** before a long run: it grows by 50 MB")


@pytest.mark.parametrize(
    ("waiting", "scoring", "device", "cores"),
    [*itertools.product((0.1, 1.0, 8.0), (0.1, 1.0, 8.0), ("cpu", "cuda"), (1, 2, 16))],
)
def test_flags_are_for_what_holds_the_rest_up(waiting, scoring, device, cores):
    stages = {"data_wait": waiting, "forward": 4.0, "postprocess": scoring, "worker/decode": 9.0}
    made = profile(stages, device=device, cores=cores, loader_workers=1)
    lines, decision = advice(made)
    found = findings(made)
    words = " ".join(lines)
    if "--data.num-workers" in words or "--data.cache" in words:
        assert found.is_much(LOADER)
    if "--data.scoring-workers" in words:
        assert found.is_much(HOST)
    if "Leave the settings" in decision:
        assert "--data.num-workers" not in words and "--data.scoring-workers" not in words
    for line in lines:
        saved, whole = re.search(r"up to ([\d.]+) s of ([\d.]+) s", line).groups()
        assert 0 < float(saved) <= float(whole)
