"""The log of a run: TensorBoard, metrics.jsonl, progress bar, epoch lines."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.plugins.hparams.plugin_data_pb2 import (  # type: ignore[import-untyped]
    HParamsPluginData,
)
from tensorboard.summary.writer.record_writer import (  # type: ignore[import-untyped]
    RecordWriter,
)
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from tqdm import tqdm

from dbnet.reporting.tables import write_picture, write_text
from dbnet.runtime.distributed import is_main, main_only
from dbnet.runtime.files import replacing
from dbnet.runtime.profiler import StageTimer
from dbnet.runtime.run_files import METRICS
from dbnet.training.board import tag
from dbnet.training.engine import StepReport

_BAR = "{desc} {bar:16} {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"  # in 80 columns
_TIMED_STEPS = 4  # batches after the first one, which warms up
_LONG = 600.0  # seconds: a longer training is announced with its duration
# Title, width, figure and format: the line of an epoch, in 80 columns.
_COLUMNS = (
    ("loss", 6, "train/loss_total", ".3f"),
    ("prob", 6, "train/loss_prob", ".3f"),
    ("thresh", 6, "train/loss_thresh", ".3f"),
    ("binary", 6, "train/loss_binary", ".3f"),
    ("img/s", 6, "train/images_per_second", ".1f"),
    ("CLEval P", 8, "val/cleval/precision", ".4f"),
    ("R", 6, "val/cleval/recall", ".4f"),
    ("H", 6, "val/cleval/hmean", ".4f"),
    ("IoU H", 6, "val/iou/hmean", ".4f"),
)

NOTHING_YET: dict[str, Any] = {"images": 0, "seconds": 0.0, "sums": {}, "stages": {}, "scalars": {}}

HPARAMS_FILE = "events.out.tfevents.0.hparams"
# Figures on the HParams page.
HPARAM_METRICS = ("best/cleval_hmean", "val/cleval/hmean", "val/iou/hmean", "val/loss/total")
# Settings in its first columns. It shows five columns until more are chosen.
HPARAM_FIRST = {"data.batch_size", "data.image_size", "model.encoder", "optim.lr", "train.epochs"}


class RunLogger:
    """Writes into one run folder. Earlier lines of a resumed run are not removed.

    Only rank 0 writes. All ranks count images and steps.

    Args:
        folder: of the run.
        epochs: epochs of the whole run, for the remaining time.
        epoch, step: epochs and batches done; 0 for a new run. What an earlier process logged after
            them is dropped, because it will be done again.
        running: the `running()` of a run that was stopped within an epoch.
        log_every: batches between two points of the training curves.
        most: batches after which the run ends; None: only epochs count.
    """

    def __init__(
        self,
        *,
        folder: Path,
        epochs: int,
        epoch: int,
        step: int,
        running: dict[str, Any] | None,
        log_every: int = 1,
        most: int | None = None,
    ) -> None:
        self.path = folder / METRICS
        self.epochs = epochs
        self.first_epoch = epoch
        self.step = step
        self.log_every, self.most = log_every, most
        self._begin(**NOTHING_YET | (running or {}))  # earlier versions kept fewer of these
        self._open(folder)
        self.started = time.perf_counter()
        self.first_step = 0.0  # seconds of its epoch when this process had done a step
        self.duration_told = self.header_told = False
        self.bar = tqdm(disable=True)

    @main_only
    def _open(self, folder: Path) -> None:
        earlier_lines = []
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole_lines = [line for line in lines if line.endswith("\n")]
            earlier_lines = [
                line for line in whole_lines if json.loads(line)["epoch"] < self.first_epoch
            ]
        write_text(self.path, "".join(earlier_lines))
        # TensorBoard has the figures of an epoch at its last step, together with those of the step.
        # Within an epoch, this step is dropped too, and its own figures are written again.
        first_dropped = self.step if self.scalars else self.step + 1
        self.writer = SummaryWriter(folder, purge_step=first_dropped if self.step else None)
        self._write_scalars()

    def _begin(
        self,
        *,
        images: int,
        seconds: float,
        sums: dict[str, float],
        stages: dict[str, float],
        scalars: dict[str, float],
    ) -> None:
        self.images = images  # of this epoch's training, up to the last step
        self.seconds = seconds
        self.sums = dict(sums)  # of the losses over these images
        self.timer = StageTimer(synchronize=None)
        for stage, total in stages.items():
            self.timer.add(stage, total)
        self.scalars = dict(scalars)  # of the last step

    def running(self) -> dict[str, Any]:
        """The values so far for the line of the current epoch; plain values for a checkpoint."""
        return {
            "images": self.images,
            "seconds": self.seconds,
            "sums": dict(self.sums),
            "stages": self.timer.totals(),
            "scalars": dict(self.scalars),
        }

    def start_epoch(self, epoch: int, batches: int) -> None:
        """Begin an epoch. Use `timer` for its training; it includes the time before a stop."""
        self.epoch = epoch
        self.epoch_started = time.perf_counter() - self.seconds
        title = f"epoch {epoch + 1}/{self.epochs}"
        self.bar = tqdm(
            total=batches, desc=title, leave=False, disable=not is_main(), bar_format=_BAR
        )

    def on_step(self, report: StepReport) -> None:
        """The `on_step` of `train_one_epoch`. Scalars have the number of batches done as step."""
        self.step += 1
        self.images += report.images
        for name, value in report.losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * report.images
        self.seconds = time.perf_counter() - self.epoch_started
        self._tell(report)
        self._tell_duration()

    @main_only
    def _tell(self, report: StepReport) -> None:
        self.scalars = {f"train/loss_{name}": value for name, value in report.losses.items()}
        self.scalars["train/lr"] = report.lr
        if report.grad_norm is not None:
            self.scalars["train/grad_norm"] = report.grad_norm
        self._write_scalars()
        elapsed = self.seconds
        waited = sum(self.timer.durations["data_wait"])
        self.bar.set_postfix_str(
            f"loss {report.losses['total']:.2f}, {waited / elapsed:.0%} waiting for data",
            refresh=False,
        )
        self.bar.update()

    @main_only
    def _tell_duration(self) -> None:
        """Print once how long the training will take, measured on its first steps."""
        steps = self.bar.n - self.bar.initial
        if self.duration_told or steps not in (1, 1 + _TIMED_STEPS):
            return
        if steps == 1:
            self.first_step = self.seconds
            return
        self.duration_told = True
        epochs, batches = self.epochs - self.epoch, self.bar.total or 0
        each = (self.seconds - self.first_step) / _TIMED_STEPS
        left, what = epochs * batches - self.bar.n, f"{epochs} epochs of {batches} batches"
        shorter = "; a quick look: --train.max-steps 100"
        if self.most is not None and self.most - self.step <= left:
            left, what, shorter = self.most - self.step, f"{self.most} batches in all", ""
        if left * each > _LONG:
            self.bar.write(
                f"about {rounded(left * each)} to go without validation: {what}, "
                f"{each:.{1 if each < 10 else 0}f} s each\n"
                f"  Ctrl-C stops it, --train.resume {self.path.parent} goes on{shorter}"
            )

    def _write_scalars(self) -> None:
        if self.step % self.log_every:
            return
        for name, value in self.scalars.items():
            self.writer.add_scalar(tag(name), value, self.step)

    def end_training(self) -> dict[str, float]:
        """Close the bar; returns mean losses and times of the training of this epoch."""
        self.bar.close()
        record = {f"train/loss_{name}": value / self.images for name, value in self.sums.items()}
        record["train/seconds"] = self.seconds
        record["train/images_per_second"] = self.images / self.seconds
        return record | {f"time_train/{k}": v for k, v in self.timer.totals().items()}

    def end_epoch(self, record: dict[str, float]) -> None:
        """Write a line to metrics.jsonl and to the terminal, and the figures to TensorBoard."""
        self.end_part(record)
        self._begin(**NOTHING_YET)

    @main_only
    def end_part(self, record: dict[str, float]) -> None:
        """As `end_epoch`, but in the middle of an epoch. A resumed run will replace the line."""
        for name, value in record.items():
            if not name.startswith("train/loss_"):
                self.writer.add_scalar(tag(name), value, self.step)
        self.writer.flush()
        line = {"epoch": self.epoch, "step": self.step, **record}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if not self.header_told:
            self.header_told = True
            print(" ".join(["  epoch", *(f"{title:>{w}}" for title, w, *_ in _COLUMNS), "   left"]))
        print(self._line(record), flush=True)
        if record.get("val/cleval/hmean", 0) > 0.2 and record["val/iou/hmean"] < 0.05:
            print("WARNING: CLEval without IoU: detections cover the text as blobs", flush=True)

    def _line(self, record: dict[str, float]) -> str:
        """The figures of an epoch under the titles of `_COLUMNS`."""
        done = self.epoch + 1 - self.first_epoch
        left = (time.perf_counter() - self.started) / done * (self.epochs - self.epoch - 1)
        figures = (
            f"{record[name]:>{width}{form}}" if name in record else " " * width
            for _, width, name, form in _COLUMNS
        )
        place = f"{self.epoch + 1}/{self.epochs}"
        return " ".join([f"{place:>7}", *figures, f"{rounded(left) if left else '':>7}"]).rstrip()

    @main_only
    def image(self, name: str, picture: np.ndarray) -> None:
        """Write a picture, uint8 (H, W, 3), to TensorBoard and to NAME.jpg in the run folder."""
        self.writer.add_image(name, picture, self.step, dataformats="HWC")
        write_picture(self.path.with_name(f"{name}.jpg"), picture)

    @main_only
    def pictures(self, group: str, made: Iterable[np.ndarray]) -> None:
        """Write pictures, uint8 (H, W, 3), to TensorBoard as GROUP/01, GROUP/02, ...

        They are JPEG, because PNG of a receipt takes ten times the space.
        """
        for number, picture in enumerate(made, start=1):
            encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
            height, width = picture.shape[:2]
            image = Summary.Image(
                height=height, width=width, colorspace=3, encoded_image_string=encoded
            )
            value = Summary.Value(tag=f"{group}/{number:02d}", image=image)
            self.writer._get_file_writer().add_summary(Summary(value=[value]), self.step)

    @main_only
    def hyper_parameters(self, settings: dict[str, Any]) -> None:
        """Add a row to TensorBoard's HParams page. It shows the latest figures of the validation.

        A resumed run replaces the row. Of several rows in a folder, TensorBoard shows the one in
        the first file by name, so the row is in its own file, whose name sorts before all others.

        Args:
            settings: by name; values that are not numbers are shown as text.
        """
        hparam_values = {
            name: value if isinstance(value, (bool, int, float)) else str(value)
            for name, value in settings.items()
        }
        described = hparams(hparam_values, dict.fromkeys(map(tag, HPARAM_METRICS), 0.0))[:2]
        plugin = described[0].value[0].metadata.plugin_data
        columns = HParamsPluginData.FromString(plugin.content)
        for column in columns.experiment.hparam_infos:
            column.differs = column.name in HPARAM_FIRST  # TensorBoard sorts by this, then by name
        plugin.content = columns.SerializeToString()
        with replacing(self.path.with_name(HPARAMS_FILE)) as draft, draft.open("wb") as file:
            records = RecordWriter(file)
            for summary in described:
                event = Event(wall_time=time.time(), step=0, summary=summary)
                records.write(event.SerializeToString())
            records.flush()

    @main_only
    def flush(self) -> None:
        self.writer.flush()

    @main_only
    def close(self) -> None:
        self.bar.close()
        self.writer.close()


def rounded(seconds: float) -> str:
    """A rounded duration: 40 min, 9 h, 3 days."""
    for unit, size, most in (("min", 60, 90), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{max(1, round(seconds / size))} {unit}"
    return f"{round(seconds / 86400)} days"
