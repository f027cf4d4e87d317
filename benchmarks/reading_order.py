"""Agreement of the reading order with the order in which a data set lists its texts; no network.

python -m benchmarks.reading_order --root ROOT [--split val]

The polygons of the annotations are shuffled and put into reading order. Printed are the share of
texts that are followed by the one that follows them in the annotations, and Kendall's tau over all
pairs of an image, averaged over images: 1 is the same order, 0 a random one, -1 the reverse.
"""

import argparse
from pathlib import Path

import numpy as np

from dbnet.data.annotations import scan as annotations
from dbnet.inference.order import reading_order


def pairs_in_order(place: np.ndarray) -> tuple[int, int]:
    """Adjacent texts that stay adjacent and in order, and all adjacent texts.

    Args:
        place: int (n,), place in reading order of each text, in the order of the annotations.
    """
    return int((np.diff(place) == 1).sum()), len(place) - 1


def kendall_tau(place: np.ndarray) -> float:
    """Pairs in order minus pairs out of order, over all pairs; -1..1."""
    first, second = np.triu_indices(len(place), 1)
    return float(np.sign(place[second] - place[first]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="data set with annotations")
    parser.add_argument("--split", default="val")
    args = parser.parse_args()

    records, _ = annotations.load_records(args.root, args.split, format="auto")
    rng = np.random.default_rng(0)
    in_order = adjacent = same = 0
    taus = []
    for record in records:
        count = len(record.polygons)
        if count < 2:
            continue
        mixed = rng.permutation(count)
        order = mixed[reading_order([record.polygons[index] for index in mixed]).order]
        place = np.argsort(order)
        pairs = pairs_in_order(place)
        in_order, adjacent = in_order + pairs[0], adjacent + pairs[1]
        same += pairs[0] == pairs[1]
        taus.append(kendall_tau(place))
    print(f"images: {len(taus)}, of {len(records)}; others have fewer than two texts")
    print(f"adjacent texts kept in order: {in_order / adjacent:.4f} of {adjacent}")
    print(f"Kendall's tau, mean: {np.mean(taus):.4f}, lowest: {min(taus):.4f}")
    print(f"images in the same order throughout: {same}")


if __name__ == "__main__":
    main()
