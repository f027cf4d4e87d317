"""Cost of a large split: start-up time, and memory of the main process and of each worker.

    python -m benchmarks.large_sets [--images 1000 10000 100000] [--folder FOLDER]

Images are hard links to a few drawn receipts, annotated in one UFO file with 50 quads and short
texts each. Every row is measured in new processes, in which the epoch asks for the records only.
Private memory is what the kernel cannot drop (Private_Dirty of /proc/PID/smaps_rollup): pages that
are mapped from the index are shared and not counted. Linux only.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.arguments import positive
from dbnet.data.annotations import scan as annotations
from dbnet.data.storage import index
from dbnet.synthetic.dataset import draw_receipt

WORDS = ("TOTAL", "CASH", "TAX", "1.00", "12.50", "QTY", "x2", "CARD", "7%", "SUM", "3.20", "ITEM")
WORKERS = 2
LISTED = 10_000  # largest number of images for the plain list: a million would need 50 GB
HEADER = [
    "images",
    "",
    "start s",
    "peak MB",
    "main B/image",
    "worker at start MB",
    "after an epoch",
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=positive, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="where the sets go; default: a temporary one")
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "ROOT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure[0], Path(args.measure[1]))))
        return
    print(f"| {' | '.join(HEADER)} |\n|{' --- |' * len(HEADER)}")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for count in args.images:
            root = write_set(Path(folder) / str(count), count)
            time.sleep(2.5)  # younger files get no index
            for way in ("list", "first", "index")[count > LISTED :]:
                command = [sys.executable, "-m", "benchmarks.large_sets", "--measure", way, root]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
                print(row(count, way, json.loads(done.stdout)), flush=True)


def row(count: int, way: str, figures: dict[str, float]) -> str:
    cells = [
        f"{count:,}",
        way,
        f"{figures['seconds']:.2f}",
        f"{figures['peak'] / 1e6:.0f}",
        f"{figures['growth'] / count:.0f}",
        f"{figures['before'] / 1e6:.1f}",
        f"{figures['after'] / 1e6:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def write_set(root: Path, count: int) -> Path:
    """UFO layout, only a training split."""
    rng = np.random.default_rng(0)
    folder = root / "images" / "train"
    folder.mkdir(parents=True)
    sources, annotated = [], []
    for number in range(64):
        image, quads, _ = draw_receipt(np.random.default_rng(number % 4))
        quads = [np.round(quad, 2).astype(float).tolist() for quad in (quads * 2)[:50]]
        words = {
            f"{n:04d}": {"points": quad, "transcription": str(rng.choice(WORDS))}
            for n, quad in enumerate(quads)
        }
        annotated.append(json.dumps({"words": words}))
        if number < 4:
            sources.append(root / f"source_{number}.jpg")
            cv2.imwrite(str(sources[-1]), image)
    (root / "jsons").mkdir()
    with (root / "jsons" / "train.json").open("w") as file:
        file.write('{"images": {')
        for i in range(count):
            source, name = sources[i % len(sources)], f"receipt_{i:07d}.jpg"
            try:
                os.link(source, folder / name)
            except OSError:  # too many links to one file
                (folder / name).write_bytes(source.read_bytes())
            file.write(f'{"," * bool(i)}\n"{name}": {annotated[i % len(annotated)]}')
        file.write("}}\n")
    return root


def measure(way: str, root: Path) -> dict[str, float]:
    """Bytes and seconds. "list": all records in a Python list; "first": the index is made."""
    before = private()
    started = time.perf_counter()
    if way == "list":
        records = list(annotations.load_records(root, "train", format="ufo")[0])
        records = [r._replace(polygons=[p.copy() for p in r.polygons]) for r in records]
    else:
        options = {"skip_missing": False, "cache_dir": root / "cache"}
        records, _ = index.load_records(root, "train", format="auto", **options)
        assert records.file is not None, "no index was made"
    seconds = time.perf_counter() - started
    growth = private() - before
    os.sync()  # otherwise mapped pages that are not on disk yet count as dirty
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    workers = [context.Process(target=walk, args=(records, queue)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    sizes = [queue.get() for _ in workers]
    for worker in workers:
        worker.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start, end = np.max(sizes, axis=0).tolist()
    return {"seconds": seconds, "peak": peak, "growth": growth, "before": start, "after": end}


def walk(records, queue) -> None:
    """Private memory of a worker: at its start, and after an epoch in random order."""
    before = private()
    for i in np.random.default_rng(os.getpid()).permutation(len(records)):
        record = records[i]
        sum(map(len, record.polygons)) + sum(map(len, record.texts))
    queue.put((before, private()))


def private() -> int:
    """Private bytes of this process that the kernel cannot drop."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("Private_Dirty:")))


if __name__ == "__main__":
    main()
