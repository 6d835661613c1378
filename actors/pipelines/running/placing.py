"""Runs the stages of a batch where they are placed: here in a thread, or on a pool of agents."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import (
    ActorRestarted,
    ActorStopped,
    CallboardError,
    DeadlineExceeded,
    HostLost,
    MailboxFull,
    NoAgentOffers,
)

from ...kernel.threads import ThreadRunner
from ..core import BatchRun, Pipeline
from ..errors import PipelineStopped, StageTimedOut
from .remote import RunStage, StageRan, ask_of, reply_into

__all__ = ["AskPool", "StageRunner"]

LOGGER: Final = logging.getLogger("callboard.pipelines")
HUNG_MAX: Final = 16
"""With so many stages that hang, the pipeline stops: each keeps a thread."""
CHECK_S_MIN: Final = 0.005
CHECK_S_MAX: Final = 1.0
POOL_RETRY: Final = Backoff(min_s=0.05, max_s=5.0)
POOL_LOST: Final = (ActorRestarted, ActorStopped, HostLost, MailboxFull, NoAgentOffers)
"""A pool that is not there now: the rows are not to blame."""


class AskPool(Protocol):
    """Asks an agent of the pool to run a stage."""

    def __call__(self, request: RunStage, timeout_s: float, /) -> Awaitable[StageRan]:
        """Ask. Raises an `AskError`."""


class StageRunner:
    """Runs batches; belongs to one event loop."""

    def __init__(
        self,
        pipeline: Pipeline,
        ask_pool: AskPool | None,
        pool_timeout_s: float,
    ) -> None:
        self._pipeline = pipeline
        self._ask_pool = ask_pool
        self._pool_timeout_s = pool_timeout_s
        self._threads = ThreadRunner(f"stages-{pipeline.spec.name}", may_hang=True)
        self.hung = 0
        self._timeouts_s = [*(stage.spec.timeout_s for stage in pipeline.stages), math.inf]
        self._check_s = max(CHECK_S_MIN, min(CHECK_S_MAX, *self._timeouts_s) / 2)
        """How often a batch in a thread is checked: a stage hangs after its deadline, and this."""
        remote = [place for place, stage in enumerate(pipeline.stages) if not stage.runs_here]
        self.first_local: Final = remote[-1] + 1 if remote else 0
        """From this stage on all run here: batches before it need no order among each other."""

    async def run(
        self, run: BatchRun, again: Callable[[], BatchRun], *, only_remote: bool = False
    ) -> BatchRun:
        """Run a batch to its end; with `only_remote`, until no further stage is on a pool.

        Gives the run that got there: after a stage that hangs it is another one, from `again`.
        """
        stages = self._pipeline.stages
        while not run.is_over and not (only_remote and run.index >= self.first_local):
            if not stages[run.index].runs_here and run.batch.rows:
                await self._elsewhere(run)
            else:
                run = await self._here(run, again)
        return run

    async def _here(self, run: BatchRun, again: Callable[[], BatchRun]) -> BatchRun:
        working = self._threads.call(run.advance)
        loop = asyncio.get_running_loop()
        index, since_s = run.index, loop.time()
        while True:
            done, _ = await asyncio.wait((working,), timeout=self._check_s)
            if done:
                working.result()
                return run
            if run.index != index:
                index, since_s = run.index, loop.time()
            elif loop.time() - since_s >= self._timeouts_s[index]:
                working.add_done_callback(_forgotten)
                return await self._without(run, again, index)

    async def _without(self, run: BatchRun, again: Callable[[], BatchRun], index: int) -> BatchRun:
        """The same batch, with a stage that hangs counted as failed. Its thread is given up."""
        self.hung += 1
        stage = self._pipeline.stages[index].spec
        LOGGER.warning("The stage %s of %s hangs.", stage.name, self._pipeline.spec.name)
        if self.hung > HUNG_MAX:
            raise PipelineStopped(
                f"{self.hung} stages of {self._pipeline.spec.name!r} hang, the last one "
                f"{stage.name!r}.",
                advice="Correct the stage and start a new process: threads cannot be ended.",
            )
        fresh = again()
        fresh.is_flush = run.is_flush
        while fresh.index < index and not fresh.is_over:
            if not self._pipeline.stages[fresh.index].runs_here and fresh.batch.rows:
                await self._elsewhere(fresh)
            else:
                await self._threads.call(fresh.advance, index)
        if not fresh.is_over:
            fresh.fail(
                StageTimedOut(
                    f"the stage {stage.name!r} took more than {stage.timeout_s:g} s for "
                    f"{fresh.batch.rows:,} rows.",
                    advice="Raise timeout_s, or use smaller batches.",
                )
            )
        return fresh

    async def _elsewhere(self, run: BatchRun) -> None:
        """Let an agent run the next stage; waits for a pool that is not there now."""
        failures = 0
        stage = run.stage.spec
        while True:
            try:
                if self._ask_pool is None:
                    await self._threads.call(run.run_here)
                    return
                ask = ask_of(self._pipeline.spec.name, run.stage, run.attempt, run.batch)
                reply = await self._ask_pool(ask, min(stage.timeout_s, self._pool_timeout_s))
                reply_into(run, reply)
            except POOL_LOST as error:
                failures += 1
                wait_s = POOL_RETRY.delay_s(failures)
                LOGGER.info("The pool for %s is not there: %s", stage.name, error)
                await asyncio.sleep(wait_s)
                continue
            except DeadlineExceeded as error:
                late = StageTimedOut(f"the stage {stage.name!r} on a pool: {error.message}")
                run.fail(late)
            except CallboardError as error:
                run.fail(error)
            return

    def close(self) -> None:
        """Accept no more batches."""
        self._threads.close()


def _forgotten(future: "asyncio.Future[None]") -> None:
    if not future.cancelled():
        future.exception()
