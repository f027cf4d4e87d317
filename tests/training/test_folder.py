"""Messages about a run's folder and its start."""

from pathlib import Path

from configs import Config, TrainConfig
from dbnet.settings import AugmentConfig, DataConfig
from dbnet.training.folder import changed_settings


def test_a_start_tells_what_differs_from_the_defaults_in_80_columns():
    cfg = Config(
        data=DataConfig(root=Path("set-2.0"), image_size=1024, train_size=448, batch_size=6),
        augment=AugmentConfig(flip=0, rotate=5.0, scale=(1.1, 2.7)),
        train=TrainConfig(name="mine", device="cpu", precision="bf16", epochs=8, val_every=2),
    )
    told = changed_settings(cfg)
    assert max(map(len, told.splitlines())) <= 80
    assert " ".join(told.split()) == (
        "settings: data: root set-2.0, image_size 1024, batch_size 6, train_size 448; "
        "augment: flip 0, rotate 5, scale 1.1 2.7; train: val_every 2"
    )


def test_a_start_with_the_defaults_says_so():
    assert changed_settings(Config()) == "settings: the defaults"
