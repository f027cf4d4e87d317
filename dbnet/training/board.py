"""Names of figures in TensorBoard: a few groups, the results first.

TensorBoard sorts groups and cards by name, so the names begin with numbers. Units are in the names
of groups or cards. metrics.jsonl and `RunLogger` use the plain names.
"""

import re

_TAGS = (
    ("val/cleval/hmean", "1_result/1_CLEval_hmean"),
    ("val/iou/hmean", "1_result/2_IoU_hmean"),
    ("best/cleval_hmean", "1_result/6_best_CLEval_hmean"),
    ("train/loss_total", "1_result/3_training_loss"),
    ("val/loss/total", "1_result/4_validation_loss"),
    ("train/lr", "1_result/5_learning_rate"),
    ("train/images_per_second", "2_training/images_per_second"),
    ("train/grad_norm", "2_training/gradient_norm_before_clipping"),
    (r"train/(loss_.+)", r"2_training/\1"),
    (r"val/loss/(.+)", r"3_validation/loss_\1"),
    (r"(train|val)/seconds", r"6_seconds_per_epoch/\1"),
    (r"val/cleval/(.+)", r"4_CLEval/\1"),
    (r"val/iou/(.+)", r"5_IoU/\1"),
    (r"val/(.+)", r"3_validation/\1"),
    (r"time_(train|val)/(.+)", r"6_seconds_per_epoch/\1_\2"),
    (r"cache/(.+)", r"7_cache/\1"),
    (r"memory/(.+)", r"8_memory/\1"),
)


def tag(name: str) -> str:
    """The name in TensorBoard of a figure in metrics.jsonl; other names are returned unchanged.

    >>> tag("val/cleval/hmean"), tag("time_val/worker/decode")
    ('1_result/1_CLEval_hmean', '6_seconds_per_epoch/val_worker/decode')
    """
    for pattern, there in _TAGS:
        if match := re.fullmatch(pattern, name):
            return match.expand(there)
    return name
