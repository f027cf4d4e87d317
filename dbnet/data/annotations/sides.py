"""Train and val of a data set that has one folder of images for both."""

import hashlib
from pathlib import Path
from typing import NamedTuple


class Side(NamedTuple):
    """One of the two parts. Each image belongs to one of them by the bytes of its file alone.

    Copies of an image are on the same side, whatever their names, and an image stays where it is
    when others are added or removed.
    """

    is_val: bool
    fraction: float  # of the images that are val on average, 0..1
    seed: int  # another one holds other images back

    def holds(self, path: Path) -> bool:
        """Whether the image is on this side. Raises OSError where the file cannot be read."""
        key = self.seed.to_bytes(8, "big")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8, key=key))
        share = int.from_bytes(digest.digest(), "big") / 2**64  # uniform in 0..1
        return (share < self.fraction) == self.is_val
