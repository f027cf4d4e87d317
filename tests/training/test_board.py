"""Names of figures in TensorBoard: all different, results first."""

import pytest

from dbnet.training.board import tag

NAMES = [
    "val/cleval/hmean",
    "val/iou/hmean",
    "train/loss_total",
    "val/loss/total",
    "train/lr",
    "best/cleval_hmean",
    "train/loss_prob",
    "train/grad_norm",
    "train/images_per_second",
    "train/seconds",
    "val/seconds",
    "val/cleval/precision",
    "val/iou/num_gt",
    "val/loss/prob",
    "val/capped",
    "time_train/worker/decode",
    "time_val/worker/decode",
    "cache/targets_bytes",
    "memory/rss_peak_gb",
]


def test_every_figure_has_a_card_of_its_own_in_few_groups():
    tags = [tag(name) for name in NAMES]
    assert len(set(tags)) == len(NAMES)
    assert sorted(tags)[:6] == tags[:6], "the results, in this order"
    assert {t.partition("/")[0] for t in tags} == {
        "1_result", "2_training", "3_validation", "4_CLEval", "5_IoU",
        "6_seconds_per_epoch", "7_cache", "8_memory",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["examples", "own/figure"])
def test_other_names_are_returned_unchanged(name):
    assert tag(name) == name
