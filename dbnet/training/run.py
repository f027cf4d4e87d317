"""A run in progress: its folder, its log, its checkpoints, and how it stops."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dbnet.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dbnet.data.loaders import batch_sizes
from dbnet.data.workers import Loader
from dbnet.errors import Stopped
from dbnet.header import Header, read_header
from dbnet.reporting.tables import write_json
from dbnet.runtime import distributed, torchrun
from dbnet.runtime.device import memory_figures, seed_other_ranks
from dbnet.runtime.files import remove_leftovers
from dbnet.runtime.run_files import BEST, CONFIG, LAST
from dbnet.section import flat, to_dict
from dbnet.structures import Batch
from dbnet.training.engine import StepReport
from dbnet.training.folder import (
    StoredRun,
    changed_settings,
    claim,
    described,
    new_folder_of,
    resumable,
    where_it_stands,
)
from dbnet.training.logger import RunLogger
from dbnet.training.resume import refuse_other_run
from dbnet.training.settings import TrainingSettings
from dbnet.training.signals import StopSignals
from dbnet.training.state import TrainState, check_room


def load_last(cfg: TrainingSettings) -> Checkpoint | None:
    """The last.pt of the run to resume (--train.resume); None for a new run."""
    return load_checkpoint(cfg.train.resume / LAST) if cfg.train.resume else None


class Run:
    """The run of this process. Only rank 0 writes; all ranks count images and steps.

    Args:
        cfg: the settings; with --train.resume, a run is resumed.
        state: of the training; the state of the run to resume is loaded into it.
        last, earlier: last.pt and config.json of the run to resume; None for a new run.
        weights: what the network starts from, for config.json.
        images: in each split.

    Raises:
        InputError: the run cannot be resumed with these settings, its folder exists or cannot be
            written, another process trains in it, or the disk has too little space.
    """

    def __init__(
        self,
        cfg: TrainingSettings,
        state: TrainState,
        last: Checkpoint | None,
        earlier: StoredRun | None,
        *,
        weights: str,
        images: dict[str, int],
    ) -> None:
        # ---- The folder: of the run to resume, or a new one
        self.state, self.images = state, images
        self._over = False
        step, running = 0, None  # batches done, figures of an unfinished epoch
        if last and earlier:
            self.folder = earlier.folder
            built = earlier.built
            with distributed.main_first():
                self._take_over(cfg, last, earlier)
            step = last["step"]
            running = last.get("running")  # earlier versions saved it at the ends of epochs only
            cfg = dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, resume=None))
        else:
            self.folder = _make_folder(cfg, state)
            built = {"weights": weights, "parameters": _count(state), "images": images}
            built["torch"] = torch.__version__
        with distributed.main_first():
            self._claimed = claim(self.folder) if distributed.is_main() else nullcontext()
        built = built | {"ranks": distributed.world(), "launch": torchrun.launch()}
        distributed.main_only(write_json)(self.folder / CONFIG, described(cfg, built))
        seed_other_ranks(cfg.train.seed, step)

        # ---- The log and the signals
        self.cfg = cfg
        self.is_new = step == 0
        self._tell_start("resumed" if last else weights.partition(":")[0])
        most = cfg.train.max_steps
        self.log = RunLogger(
            folder=self.folder,
            epochs=self._epochs(),
            epoch=state.epoch,
            step=step,
            running=running,
            log_every=cfg.train.log_every,
            most=None if most is None else most * cfg.train.accumulate,
        )
        self.log.hyper_parameters(flat(to_dict(cfg)))
        self.stop = StopSignals()
        self._saved = time.monotonic()
        self._tell_epochs()

    def _take_over(self, cfg: TrainingSettings, last: Checkpoint, earlier: StoredRun) -> None:
        refuse_other_run(cfg, earlier, last, images=self.images, ranks=distributed.world())
        check_room(self.folder, self.state)
        self.state.load_state_dict(last)
        path = self.folder / BEST
        if path.exists():  # after a kill it may be newer than last.pt
            header = read_header(path) or load_checkpoint(path)  # earlier versions had no header
            best, epoch = _best_of(header)
            if best > self.state.best:
                self.state.best, self.state.best_epoch = best, epoch

    def _tell_start(self, weights: str) -> None:
        """Print the network and the settings; `weights` is what the network starts from."""
        cfg = self.cfg
        print(
            f"{self.folder}: {cfg.model.encoder}, pyramid {cfg.model.fpn_channels}, "
            f"{_count(self.state) / 1e6:.1f} million weights, {weights}, on {cfg.train.device} in "
            f"{cfg.train.precision}\n{changed_settings(cfg)}",
            flush=True,
        )

    def _tell_epochs(self) -> None:
        if not self.is_new:
            done = f", {self.log.images} images of the first are done" if self.log.images else ""
            print(f"epochs {self.state.epoch + 1} to {self._epochs()}{done}", flush=True)
        if self.cfg.augment.flip:
            print(f"augment.flip {self.cfg.augment.flip} mirrors text; the recipes set it to 0")

    @contextmanager
    def training(self) -> Iterator[None]:
        """Context of the epochs: locks the folder, handles signals, completes error messages."""
        with self._claimed, resumable(self.folder), closing(self.log), self.stop:
            yield

    def _epochs(self) -> int:
        """Number of epochs of the whole run. --train.max-steps may end within the last one."""
        train = self.cfg.train
        if train.max_steps is None:
            return train.epochs
        batches = -(-self.images["train"] // (self.cfg.data.batch_size * distributed.world()))
        return min(train.epochs, -(-train.max_steps // -(-batches // train.accumulate)))

    def is_over(self) -> bool:
        """Whether nothing is left to train."""
        return self._over

    def _has_all_steps(self) -> bool:
        most = self.cfg.train.max_steps
        return most is not None and self.state.steps >= most

    def start_epoch(self, loader: Loader) -> list[int]:
        """Begin the current epoch or its rest, and set `loader` to the images that are left.

        Returns the number of images in each batch that is left, over all ranks.
        """
        loader.sampler.epoch, loader.sampler.start = self.state.epoch, self.log.images
        sizes = batch_sizes(loader)
        count, train = len(sizes), self.cfg.train
        if train.max_steps is not None:
            count = min(count, (train.max_steps - self.state.steps) * train.accumulate)
        self.log.start_epoch(self.state.epoch, count)
        return sizes

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of `loader`, until --train.max-steps is reached."""
        if self._has_all_steps():
            return
        for batch in loader:
            yield batch
            if self._has_all_steps():
                return

    def is_validated(self) -> bool:
        """Whether a validation follows the training of the current epoch."""
        done = self.state.epoch + 1
        is_last = done == self.cfg.train.epochs or self._has_all_steps()
        return done % self.cfg.train.val_every == 0 or is_last

    def on_step(self, report: StepReport) -> None:
        """The `on_step` of `train_one_epoch`: log; after an optimizer step, stop or save if due."""
        self.log.on_step(report)
        if report.grad_norm is None:
            return  # the gradients of an unfinished step are pending
        self.stop_if_asked()
        if time.monotonic() - self._saved >= 60 * self.cfg.train.save_minutes:
            self.save()

    def stop_if_asked(self) -> None:
        """If a signal has reached a rank and the run is not over: save, and raise Stopped."""
        if self.is_over():
            return
        number = distributed.all_reduce_max(self.stop.received or 0)
        if number:
            self.save()
            distributed.barrier()  # after one rank has ended, torchrun ends the others
            place = (self.state.epoch, self.log.images, self.images["train"])
            raise Stopped(number, where_it_stands(self.folder, number, *place))

    def end_epoch(self, record: dict[str, float]) -> bool:
        """Log the figures of an epoch, and save checkpoints.

        best.pt is written first, then the log, then last.pt. If the process is killed in between,
        the resumed run repeats the end of the epoch.

        Returns:
            Whether the CLEval hmean is the best so far; best.pt has then been written.
        """
        is_best = "val/cleval/hmean" in record and self._judge(record["val/cleval/hmean"])
        record = dict(record)
        if self.state.best >= 0:  # after the first validation
            record["best/cleval_hmean"] = self.state.best
        memory = memory_figures(torch.device(self.cfg.train.device))
        record |= {f"memory/{name}": value for name, value in memory.items()}
        if self.log.images == self.images["train"]:
            self.log.end_epoch(record)
            self.state.epoch += 1
        else:
            self.log.end_part(record)
        self._over = self._is_at_its_end()
        self.save()
        return is_best

    def _judge(self, hmean: float) -> bool:
        """Save the weights if they are the best so far; count the validations since the best."""
        state, number = self.state, self.state.epoch + 1
        is_best = hmean > state.best
        if is_best:
            state.best, state.best_epoch = hmean, number
            self._save_best()
        # After a kill, best.pt may already have the weights of this epoch.
        state.stale = 0 if state.best_epoch == number else state.stale + 1
        return is_best

    def _is_at_its_end(self) -> bool:
        """Whether the run ends here. Prints a line if it ends before its last epoch."""
        train, state = self.cfg.train, self.state
        if state.epoch >= train.epochs:
            return True
        if train.patience is not None and state.stale >= train.patience:
            print(f"ends early: {state.stale} validations without a better CLEval hmean")
            return True
        if self._has_all_steps():
            print(f"ends after {state.steps} optimizer steps (--train.max-steps)")
        return self._has_all_steps()

    @distributed.main_only
    def save(self) -> None:
        """Write last.pt."""
        position: Checkpoint = {
            "step": self.log.step,
            "running": self.log.running(),
            "finished": self._over,
        }
        self.log.flush()  # these steps are not logged again by a resumed run
        remove_leftovers(self.folder)
        state = self.state.state_dict()
        save_checkpoint(self.folder / LAST, self._described() | position | state)
        self._saved = time.monotonic()

    @distributed.main_only
    def _save_best(self) -> None:
        weights: Checkpoint = {
            "model": self.state.averaged.state_dict(),
            "ema": None,
            "epoch": self.state.epoch + 1,
            "best": self.state.best,
        }
        save_checkpoint(self.folder / BEST, self._described() | weights)

    def _described(self) -> Checkpoint:
        network = self.cfg.model
        return {
            "model_args": {"encoder": network.encoder, "fpn_channels": network.fpn_channels},
            "config": to_dict(self.cfg),
        }

    @distributed.main_only
    def draw(self, name: str, make: Callable[[], np.ndarray]) -> None:
        """On rank 0, make a picture, uint8 (H, W, 3), for TensorBoard and NAME.jpg."""
        self.log.image(name, make())


def _best_of(best: Header | Checkpoint) -> tuple[float, int]:
    """The best CLEval hmean stored in best.pt, -1 for none, and its epoch."""
    known, epoch = (
        (best.best, best.epoch) if isinstance(best, Header) else (best["best"], best["epoch"])
    )
    return -1.0 if known is None else known, epoch


def _count(state: TrainState) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in state.model.parameters())


def _make_folder(cfg: TrainingSettings, state: TrainState) -> Path:
    """Check the disk space and make the folder of a new run; all ranks must call this."""
    with distributed.main_first():
        check_room(cfg.train.out, state)
    restarts = distributed.all_reduce_max(torchrun.restarts())
    return distributed.on_main(partial(new_folder_of, cfg, restarts=restarts))
