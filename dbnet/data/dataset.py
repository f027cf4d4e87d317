"""Records to samples: read, decoded, transformed, one at a time."""

from collections.abc import Callable, Sequence

import numpy as np
from torch.utils.data import Dataset

from dbnet.data.transforms import EvalTransform, Geometry, TrainTransform
from dbnet.errors import InputError
from dbnet.runtime.profiler import StageTimer
from dbnet.structures import Record, Sample


class DetectionDataset(Dataset[Sample]):
    """Loads and transforms one record at a time.

    Keys are (epoch, index) pairs. Each sample has its own random stream, seeded by
    (seed, epoch, index). Augmentation therefore does not depend on the number of workers.

    Args:
        records: the annotated images.
        load: `load_sample`, or a function whose samples are the same after `transform`.
        transform: applied to each sample.
        seed: of the random streams.
    """

    def __init__(
        self,
        *,
        records: Sequence[Record],
        load: Callable[[Record, Geometry], Sample],
        transform: EvalTransform | TrainTransform,
        seed: int,
    ) -> None:
        self.records = records
        self.load = load
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample of `key`, (epoch, index).

        Raises:
            InputError: the image cannot be read; names the file.
            RuntimeError: any other error; begins with the path of the image.
        """
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        timer = StageTimer(synchronize=None)
        try:
            geometry = self.transform.geometry(rng)
            with timer("decode"):
                sample = self.load(self.records[index], geometry)
            with timer("transform"):
                sample = self.transform(sample, geometry, rng)
        except InputError:
            raise
        except Exception as error:
            path = self.records[index].image_path
            raise RuntimeError(f"{path}: {type(error).__name__}: {error}") from error
        return sample._replace(seconds=timer.totals())
