"""Wall time per stage."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StageTimer:
    """Collects the durations of named stages: `with timer("forward"): ...`.

    Args:
        synchronize: called at both borders of a stage, such as `torch.cuda.synchronize`, so
            that queued device work is charged to the stage that queued it; None where stages
            run on the host or where queues may run on.
    """

    def __init__(self, *, synchronize: Callable[[], None] | None) -> None:
        self.synchronize = synchronize
        self.durations: dict[str, list[float]] = {}  # seconds

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        if self.synchronize:
            self.synchronize()
        start = time.perf_counter()
        yield
        if self.synchronize:
            self.synchronize()
        self.durations.setdefault(stage, []).append(time.perf_counter() - start)

    def totals(self) -> dict[str, float]:
        """Seconds per stage, in order of first use."""
        return {stage: sum(values) for stage, values in self.durations.items()}
