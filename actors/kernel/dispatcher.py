"""The dispatcher: the ready queue of one host, and the workers that serve it.

Cells with messages wait in one ready queue. A worker is an asyncio task that takes cells
from it and runs their handlers inside itself: a message whose handler never waits costs no
task of its own. When a handler waits, its worker waits with it, and another worker serves
the queue; so there are about as many workers as waiting handlers. A worker ends when a handler
has left something behind in its context or its task; see `isolation`.

Invariant: whenever the ready queue is not empty, a wake-up is scheduled (`_wake_scheduled`),
or a worker runs or gives the loop its turn. The wake-up is one loop callback per loop iteration,
not per message.
"""

import asyncio
import contextlib
import contextvars
import inspect
import math
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError

from .actor import Actor, Handler
from .asks import Ask
from .cell import Cell, Lifecycle
from .circles.runs import Run
from .context import Context
from .dead_letters import DeadLetters
from .failures import (
    cancelled_error,
    deciding_error,
    failure_of,
    forwarded_error,
    missing_handler_error,
    stream_expected_error,
    threads_full_error,
    unfinished_reply_error,
    wrong_reply_error,
)
from .inspection.meters import Activity
from .inspection.steps import StepMeter
from .interrupts import is_interrupt
from .isolation import FRESH_VARIABLES, WorkerTask, fresh_context, holders_of
from .lifecycle.mailbox_policy import apply_restart_policy
from .partials import run_stream
from .ports import DispatcherHost
from .redelivery import Redelivery
from .stash import Stashed, Stashes
from .threads import HandlerThreads, ThreadCall

__all__ = ["Dispatcher", "Worker"]

BATCH_MESSAGES: Final = 256
"""Messages of one cell before the next cell's turn."""

SLICE_S: Final = 0.004
"""How long workers run before the event loop serves its sockets and timers."""

WORKERS_IDLE_MAX: Final = 256
INTERLEAVED_MAX: Final = 64
"""Messages that one reentrant actor handles while its handlers wait; a longer chain is an error."""


class Dispatcher:
    """Runs the cells of one host on one event loop."""

    def __init__(self, host: DispatcherHost[Cell], dead_letters: DeadLetters) -> None:
        self.host: Final = host
        self.dead_letters: Final = dead_letters
        self.loop: Final = asyncio.get_running_loop()
        self.ready: deque[Cell] = deque()
        self.workers: dict[Worker, None] = {}
        """Workers that have not ended, oldest first."""
        self.runs: Final[weakref.WeakKeyDictionary[asyncio.Task[Any], Run[Cell]]] = (
            weakref.WeakKeyDictionary()
        )
        """The workers and the hooks by their tasks."""
        self.handled = 0
        """Messages handled since the start."""
        self.activity: Activity | None = None
        """Counts the messages that each actor handles; None while no view asks for it."""
        self.steps: StepMeter | None = None
        """Measures the steps of executions; None while the host records nothing."""
        self.stashes: Final = Stashes()
        self.redelivery: Final = Redelivery(host.name)
        self._idle: list[Worker] = []
        self._interleaved: Counter[int] = Counter()
        """Messages that reentrant actors handle while their handlers wait, by cell."""
        self._wake_scheduled = False
        self.resting = 0
        """How many workers give the loop its turn, and go on after it."""
        # A loop that keeps the tasks that `create_task` makes, as the simulator's, keeps these too.
        self._keep_task: Callable[[WorkerTask], None] | None = getattr(self.loop, "keep_task", None)
        self.threads: Final = HandlerThreads(self.loop, host.name, host.ask_timeout_s)

    def enqueue(self, cell: Cell) -> None:
        """Put a cell into the ready queue; the caller sets `cell.queued`."""
        self.ready.append(cell)
        if not self._wake_scheduled:
            self._wake_scheduled = True
            self.loop.call_soon(self._wake_scheduled_now)

    def wake_soon(self) -> None:
        """Wake a worker in the next loop iteration."""
        if not self._wake_scheduled:
            self._wake_scheduled = True
            self.loop.call_soon(self._wake_scheduled_now)

    def wake_now(self) -> None:
        """Wake a worker without waiting for the next loop iteration."""
        self._wake_worker()

    def _wake_scheduled_now(self) -> None:
        self._wake_scheduled = False
        self._wake_worker()

    def _wake_worker(self) -> None:
        if not self.ready or self.resting:
            return  # One more worker each time would make the loop wait longer each time.
        if self._idle:
            self._idle.pop().wake()
        else:
            worker = Worker(self)
            self._start(worker, worker.run())

    def _start(self, worker: "Worker", coroutine: Coroutine[Any, Any, None]) -> None:
        self.workers[worker] = None
        worker.task = task = WorkerTask(coroutine, self.loop, worker.context)
        self.runs[task] = worker
        if self._keep_task is not None:
            self._keep_task(task)

    def has_interleaving_room(self, cell: Cell) -> bool:
        """Whether a reentrant actor may handle one more message of a chain that waits for it."""
        return self._interleaved[cell.id] < INTERLEAVED_MAX

    def interleave(self, cell: Cell, ask: Ask) -> None:
        """Let a reentrant actor handle an ask now, while its handlers wait."""
        worker = Worker(self)
        self._interleaved[cell.id] += 1
        self._start(worker, worker.run_interleaved(cell, ask))

    def interleaved_done(self, worker: "Worker", cell: Cell) -> None:
        """A worker has handled its interleaved message."""
        self.left(worker)
        self._interleaved[cell.id] -= 1
        if not self._interleaved[cell.id]:
            del self._interleaved[cell.id]

    def park(self, worker: "Worker") -> bool:
        """Keep an idle worker for later; False when it is to end."""
        if len(self._idle) >= WORKERS_IDLE_MAX:
            return False
        self._idle.append(worker)
        return True

    def left(self, worker: "Worker") -> None:
        """A worker has ended: forget it, and let another one go on."""
        is_open = self.workers.pop(worker, worker) is None
        if worker in self._idle:  # Its task was cancelled while it waited.
            self._idle.remove(worker)
        if is_open and self.ready:
            self.wake_soon()

    async def run_in_thread(self, function: Any, *arguments: Any) -> Any:
        """Run a function of a role, or of its user, in a thread; raises an `Exception`."""
        call = ThreadCall(function, arguments, lambda: getattr(function, "__qualname__", "a call"))
        self.threads.start(call)
        try:
            await asyncio.shield(call.ended)
        except asyncio.CancelledError:
            self.threads.give_up(call)
            raise
        try:
            return call.result()
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            raise RuntimeError(f"{call.where()} raised {error!r}") from error

    async def close(self) -> None:
        """End all workers. Handlers that still run are cancelled."""
        workers = list(self.workers)
        self.workers.clear()
        self._idle.clear()
        tasks = [worker.task for worker in workers if worker.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        self.threads.close()


class Worker:
    """One task that runs handlers, one at a time."""

    __slots__ = (
        "_call_in_thread",
        "_cancelling",
        "_dispatcher",
        "_wake",
        "cell",
        "context",
        "item",
        "task",
    )

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._wake: asyncio.Future[None] | None = None
        self._cancelling: Any = None
        """The message whose handler the kernel has cancelled."""
        self._call_in_thread: ThreadCall | None = None
        self.context: Final = fresh_context()
        self.task: WorkerTask | None = None
        self.cell: Cell | None = None
        self.item: Any = None
        """The message, or the `Ask`, that it handles now."""

    @property
    def has_begun(self) -> bool:
        """Whether the handler of its message has begun: it may still wait for a thread."""
        call = self._call_in_thread
        return call is None or call.has_begun

    def wake(self) -> None:
        """Let a parked worker serve the queue."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def cancel_handler(self, ask: Ask) -> None:
        """Cancel the handler of `ask`, which this worker is running."""
        if self.item is ask and self._cancelling is None and self.task is not None:
            self._cancelling = ask
            self.task.cancel()

    def abandon_handler(self) -> None:
        """Leave the cell; the handler runs on, and its result is dropped."""
        self.cell = None

    def interrupt(self) -> None:
        """Cancel whatever handler this worker is running."""
        if self.item is not None and self._cancelling is None and self.task is not None:
            self._cancelling = self.item
            self.task.cancel()

    async def run(self) -> None:
        """Serve the queue until enough other workers are idle, or a handler has left something."""
        try:
            await self._serve_queue()
        except GeneratorExit:
            if not self._is_current():
                raise
        finally:
            self._dispatcher.left(self)
            if self.task is not None:
                self.task.changed = None

    def _is_current(self) -> bool:
        """Whether its task runs now: otherwise the process ends before the coroutine does."""
        return asyncio.current_task(self._dispatcher.loop) is self.task

    async def _serve_queue(self) -> None:
        dispatcher = self._dispatcher
        ready, loop = dispatcher.ready, dispatcher.loop
        slice_ends_s = loop.time() + SLICE_S
        while True:
            if not ready:
                self.cell = None
                if not dispatcher.park(self):
                    return
                self._wake = loop.create_future()
                await self._wake
                slice_ends_s = loop.time() + SLICE_S
                continue
            cell = ready.popleft()
            cell.queued = False
            if not cell.free or cell.lifecycle != Lifecycle.RUNNING:
                continue
            cell.free -= 1
            self.cell = cell
            if ready:
                dispatcher.wake_soon()
            try:
                is_as_new = await self._serve(cell, cell.take)
            finally:
                self.item = None
                if self.cell is cell:
                    cell.free += 1
                    if self in dispatcher.workers:
                        cell.end_turn()
            if not is_as_new:
                return
            if loop.time() > slice_ends_s:
                dispatcher.resting += 1
                try:
                    await asyncio.sleep(0)
                finally:
                    dispatcher.resting -= 1
                slice_ends_s = loop.time() + SLICE_S

    async def run_interleaved(self, cell: Cell, ask: Ask) -> None:
        """Handle one message of a cell whose handlers wait for its reply, and end."""
        self.cell = cell
        waiting = [ask]
        try:
            await self._serve(cell, lambda: waiting.pop() if waiting else None)
        finally:
            self.item = self.cell = None
            self._dispatcher.interleaved_done(self, cell)

    # One loop on purpose: one more coroutine per message costs a sixth of a local tell.
    async def _serve(  # noqa: C901, PLR0912, PLR0915 - as above
        self, cell: Cell, take: Callable[[], Any]
    ) -> bool:
        """One turn of a cell: a batch of messages. Returns whether the worker is as new."""
        context, task = self.context, self.task
        assert task is not None
        task.changed = None
        holders = holders_of(task)
        actor, behaviour, dispatcher = cell.actor, cell.behaviour, self._dispatcher
        handlers, steps = behaviour.handlers, dispatcher.steps
        left = BATCH_MESSAGES
        while left and cell.actor is actor:
            item = take()
            if item is None:
                break
            left -= 1
            if cell.free and not cell.queued:
                # The actor is concurrent: other workers may handle its next messages meanwhile.
                cell.wake()
            self.item = item
            if type(item) is Ask:
                if item.done:
                    continue
                message = item.message
                row = handlers.get(type(message)) or behaviour.find(type(message))
                if row is None:
                    item.fail(missing_handler_error(cell, message))
                    continue
                item.worker = self
                began_s = steps.now() if steps is not None and item.step else 0.0
                try:
                    if item.trace:
                        result = await self._traced(row, actor, message, item)
                    elif row.is_plain:
                        result = await row.function(actor, message)
                    else:
                        result = await self._call(row, actor, message, item)
                    if type(result) is not row.reply and not row.accepts(result):
                        raise wrong_reply_error(cell, row, result)  # noqa: TRY301 - one way out
                except BaseException as error:  # noqa: BLE001 - `_handle_failure` sorts it
                    self._handle_failure(cell, actor, item, error)
                else:
                    if steps is not None and began_s:
                        steps.took(behaviour.actor, message, began_s)
                    if not item.done:
                        item.done = True
                        item.sink.reply(item.correlation, result)
                item.worker = None
                if item.bucket >= 0 and item.done:  # A stashed one is still open.
                    dispatcher.host.deadlines.remove(item)
            else:
                row = handlers.get(type(item)) or behaviour.find(type(item))
                if row is None:
                    missing = missing_handler_error(cell, item)
                    dispatcher.dead_letters.dead("no_handler", cell.path, item, missing)
                    continue
                try:
                    if row.is_plain:
                        await row.function(actor, item)
                    else:
                        await self._call(row, actor, item, None)
                except BaseException as error:  # noqa: BLE001 - `_handle_failure` sorts it
                    self._handle_failure(cell, actor, item, error)
            if holders_of(task) != holders or len(context) != FRESH_VARIABLES:
                break
        self.item = None
        dispatcher.handled += BATCH_MESSAGES - left
        if dispatcher.activity is not None:
            dispatcher.activity.add(cell.id, BATCH_MESSAGES - left)
        return holders_of(task) == holders and len(context) == FRESH_VARIABLES

    async def _traced(self, row: Handler, actor: Actor | None, message: Contract, ask: Ask) -> Any:
        """Call the handler of an ask that belongs to a trace."""
        assert self.cell is not None
        tracing = self._dispatcher.host.tracing
        if tracing is None:
            return await self._call(row, actor, message, ask)
        with tracing.handling(ask, self.cell):
            return await self._call(row, actor, message, ask)

    async def _call(
        self, row: Handler, actor: Actor | None, message: Contract, ask: Ask | None
    ) -> Any:
        """Call a handler that takes a context, or runs in a thread, or both."""
        assert self.cell is not None
        ctx = Context(self._dispatcher.host, self.cell, ask)
        arguments = (actor, message, ctx) if row.wants_context else (actor, message)
        if row.is_async:
            return await row.function(*arguments)
        if row.streams:
            where = _place(self.cell, row)
            if row.reply is None and ask is not None and ask.credit < 0:
                raise stream_expected_error(self.cell, message)
            return await run_stream(row.function(*arguments), row.reply, ask, where)
        threads = self._dispatcher.threads
        if ask is not None and threads.is_full:
            threads.refused += 1
            error = threads_full_error(self.cell, threads.names())
            ask.fail(error)  # Here, because its handler has not run.
            raise error
        cancelled = ctx.cancelled  # Made here, so that two threads do not make one each.
        until_s = math.inf if ask is None else ask.deadline_s
        # A span of the handler's own code belongs below that of the handler.
        context = contextvars.copy_context() if ask is not None and ask.trace else None
        call = ThreadCall(row.function, arguments, _place(self.cell, row), until_s, self, context)
        self._call_in_thread = call
        threads.start(call)
        try:
            await self._thread_ended(call, cancelled)
        finally:
            self._call_in_thread = None
        result = call.result()
        if inspect.isawaitable(result) or inspect.isgenerator(result):
            raise unfinished_reply_error(self.cell, row, result)
        return result

    async def _thread_ended(self, call: ThreadCall, cancelled: threading.Event) -> None:
        """Wait for the end of the call's thread, also when nobody waits for its result any more."""
        threads = self._dispatcher.threads
        while not call.ended.done():
            try:
                await asyncio.shield(call.ended)
            except asyncio.CancelledError:
                cancelled.set()
                threads.give_up(call)
                if self._cancelling is None or not call.has_begun:
                    raise  # It never begins, or the host closes and the thread's result is dropped.
                # The asker has its error. The thread cannot be stopped, and the actor handles
                # a message until it ends: the next message must wait for it.
                self._uncancel()

    def _uncancel(self) -> None:
        assert self.task is not None
        self.task.uncancel()
        self._cancelling = None

    def _handle_failure(
        self, cell: Cell, actor: Actor | None, item: Any, error: BaseException
    ) -> None:
        """Handle an exception of a handler: for the asker, the actor, and this worker."""
        error = deciding_error(error)
        if self._ends_with(error):
            raise error
        if isinstance(error, asyncio.CancelledError) and self._cancelling is not None:
            if type(item) is Ask and not item.done:
                item.fail(item.stopped_by or cancelled_error(cell, item.message))
            return
        if isinstance(error, Stashed):
            self._dispatcher.stashes.put(cell, item)
            return
        message = item.message if type(item) is Ask else item
        steps = self._dispatcher.steps
        if steps is not None and type(item) is Ask and item.step:
            steps.failed(cell.behaviour.actor, message)
        failure = failure_of(cell, message, error)
        restarts = failure is not error and cell.behaviour.restarts_on_error
        retried = None
        if restarts and cell.behaviour.attempts_max > 1 and cell.lifecycle < Lifecycle.STOPPING:
            retried = self._redeliver(cell, item, failure)
        elif type(item) is Ask:
            with contextlib.suppress(asyncio.InvalidStateError):
                item.fail(forwarded_error(failure))
        else:
            self._dispatcher.dead_letters.dead("handler_failed", cell.path, item, failure)
        if restarts:
            self.item = None  # This handler has ended: the actor's other handlers are interrupted.
            # A handler of an earlier incarnation must not fail the current one.
            is_newest = cell.actor is actor
            if is_newest and cell.lifecycle == Lifecycle.RUNNING:
                apply_restart_policy(cell)
            if retried is not None:
                cell.put_first((retried,))
                cell.schedule()
            if is_newest:
                self._dispatcher.host.termination.actor_failed(cell, failure)

    def _ends_with(self, error: BaseException) -> bool:
        """Whether an error ends the worker: Ctrl-C, or its host or process ends."""
        if isinstance(error, GeneratorExit):
            # As the exception of a future it closes the coroutines here: none may wait again.
            assert self.task is not None
            self.task.changed = self.task
            return not self._is_current()
        if isinstance(error, asyncio.CancelledError):
            return self._dispatcher.loop.is_closed() or self not in self._dispatcher.workers
        return is_interrupt(error)

    def _redeliver(self, cell: Cell, item: Any, failure: CallboardError) -> Any:
        """The message that the next incarnation handles first; None when it is not retried."""
        retried, error, attempts = self._dispatcher.redelivery.judge(cell, item, failure)
        if retried is not None:
            return retried
        if type(item) is Ask:
            item.fail(error)
        if attempts or type(item) is not Ask:
            reason = "poison" if attempts else "handler_failed"
            self._dispatcher.dead_letters.dead(reason, cell.path, item, error, attempts)
        return None


def _place(cell: Cell, row: Handler) -> Callable[[], str]:
    return lambda: f"{row.name} of {cell.path}"
