"""The host: the kernel of one process. Cells, links, asks and deadlines meet here.

A host has a slot (its place in the cluster, which outlives it) and an epoch (which incarnation of
the slot it is). It knows nothing of Ray: an engine gives it carriers for its links, a store for
large values, a pickler and a supervisor factory, all as ports. It knows no role either: roles come
as extensions, and as recipes that make their own cells.

Everything here runs on one event loop; no other thread may call it, unless it says so.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeGuard, TypeVar

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import Restart, StopTimeout
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry, Request
from callboard.messages.core.errors import (
    ActorNotFound,
    AskError,
    CallboardError,
    HostLost,
    MailboxFull,
)
from callboard.messages.core.frame import Kind, decode_frame
from callboard.messages.core.limits import DEFAULT_LIMITS, Limits
from callboard.messages.core.ref import (
    CONTRACT_TYPE,
    EXTERNAL_REF,
    Address,
    Ref,
    check_message,
    not_a_message,
)
from callboard.messages.core.timeouts import checked_timeout
from callboard.messages.ports import LargeValueStore, MakeSupervisor, Pickler

from ..asks import Ask, AskFuture, AskOwner, Call
from ..cell import Cell, Recipe
from ..circles.circles import Circles
from ..context import Context
from ..dead_letters import DeadLetters
from ..deadlines import Deadlines
from ..directory.registry import Directory
from ..directory.routing import Load
from ..directory.subscriptions import Subscriptions
from ..dispatcher import Dispatcher
from ..inspection.meter import Meter, NoMeter
from ..inspection.meters import Meters, Vitals, no_vitals
from ..inspection.metric_sources import Instruments
from ..interrupts import is_interrupt
from ..isolation import fresh_context
from ..lifecycle.cleanup import Cleanup
from ..lifecycle.fences import Fences
from ..lifecycle.spawner import Spawner
from ..lifecycle.termination import Termination
from ..link.failures import actor_not_found, encode_error, is_missing_here
from ..link.link import Link
from ..link.queue import OutgoingMessage
from ..monitors.monitors import Monitors
from ..monitors.notices import Notices
from ..ports import Children
from ..publishing import NoPublishing, Publishing
from ..stash import Stashes
from ..streams import read_stream
from ..timers import Timers
from ..tracing import Tracing
from .control_actor import ControlActor
from .extension import Extensions, MakeExtension
from .membership import MakeCarrier, Membership
from .sending import send_when_room

__all__ = ["Host"]

LOGGER: Final = logging.getLogger("callboard.host")
ExtensionT = TypeVar("ExtensionT")
ReplyT = TypeVar("ReplyT")
ASK_TIMEOUT_S: Final = 30.0
EARLY_FRAMES_MAX: Final = 256
"""Frames kept for incarnations that this host does not know yet."""


def is_control(address: Address | Load | None) -> bool:
    """Whether a control actor answers there: the control plane does not wait behind data."""
    return isinstance(address, Address) and address.cell == CONTROL_CELL


class Host:
    """The part of the system in one process."""

    _is_closed = False
    _correlation = 0
    _deadline_at_s = 0.0

    def __init__(
        self,
        *,
        slot: int,
        epoch: int,
        name: str,
        make_supervisor: "MakeSupervisor",
        large_values: LargeValueStore,
        pickler: Pickler,
        limits: Limits = DEFAULT_LIMITS,
        ask_timeout_s: float = ASK_TIMEOUT_S,
        on_failed: Callable[[Exit], None] | None = None,
        extensions: Sequence[MakeExtension] = (),
        vitals: Callable[[], Vitals] = no_vitals,
        meter: Meter | None = None,
        publishing: Publishing | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.slot = slot
        self.epoch = epoch
        self.name = name
        self.loop: Final = asyncio.get_running_loop()
        self.now: Final = self.loop.time
        self.limits: Final = limits
        self.inline_bytes_max: Final = limits.inline_bytes_max
        self.ask_timeout_s: Final = ask_timeout_s
        self.make_supervisor: Final = make_supervisor
        self.large_values: Final = large_values
        self.pickler: Final = pickler
        self.contracts: Final = ContractRegistry(limits)
        self.codec: Final = Codec(self.contracts, limits, self._internalise)
        self.dead_letters: Final = DeadLetters(name)
        self.cells: Final[dict[int, Cell]] = {}
        self.links: Final[dict[int, Link]] = {}
        self.pending: Final[dict[int, Call]] = {}
        """Asks to other hosts that wait for their reply, by correlation."""
        self._asks_open_max: Final = limits.asks_open_max
        self.asks_open = 0
        """Asks of this host's actors and drivers, to any host, that have no outcome yet."""
        self.deadlines: Final = Deadlines()
        self.directory: Final = Directory(self, lambda: self.subscriptions.changed())  # noqa: PLW0108 - made later
        self.dispatcher: Final = Dispatcher(self, self.dead_letters)
        self.stashes: Final[Stashes] = self.dispatcher.stashes
        self.circles: Final[Circles] = Circles(self)
        self.meters: Final = Meters(self.loop, self.dispatcher, vitals)
        self.instruments: Final[Instruments] = self.meters.instruments
        self.meter: Final[Meter] = NoMeter() if meter is None else meter
        self.publishing: Final[Publishing] = NoPublishing() if publishing is None else publishing
        self.tracing: Final = tracing
        self.notices: Final = Notices(self.dead_letters)
        self.timers: Final = Timers(self.loop, self.notices)
        self.subscriptions: Final[Subscriptions] = Subscriptions(
            self.directory, self.notices, self.ref
        )
        self.extensions: Final = Extensions(self, extensions)
        self.monitors: Final = Monitors(self, self.extensions)
        self.cleanup: Final = Cleanup(self, self.notices, self.timers, self.subscriptions)
        self.membership: Final = Membership(
            slot, self.links, lambda other: Link(self, other), self.loop.call_later
        )
        self.fences: Final = Fences()
        self.spawner: Final = Spawner(self, on_failed)
        self.termination: Final = Termination(
            self, self.dispatcher.workers, self.cleanup, self.tell
        )
        self.run_control(Recipe(ControlActor, (self,), None, "control-actor"))
        self._tasks: dict[asyncio.Task[Any], None] = {}  # In order: they are cancelled so.
        self._early: deque[bytes] = deque(maxlen=EARLY_FRAMES_MAX)
        self._deadline_timer: asyncio.TimerHandle | None = None

    # --- references -----------------------------------------------------------------------

    def ref(self, address: Address) -> Ref[Any]:
        """A reference bound to this host."""
        receiver = self.cells.get(address.cell) if address.slot == self.slot else None
        return Ref(address, self, receiver)

    def _internalise(self, value: Any) -> Any:
        tag, *rest = value
        if tag != EXTERNAL_REF:
            raise ValueError(f"unknown external {tag!r}")
        slot, cell = rest
        return self.ref(Address(int(slot), int(cell)))

    def context(self, cell: Cell) -> Context:
        """A context that belongs to no message, for an actor's hooks."""
        return Context(self, cell, None)

    # --- messages out -------------------------------------------------------------------------

    def tell(self, address: Address, message: Contract) -> None:
        """See `Ref.tell`."""
        if type(type(message)) is not CONTRACT_TYPE:
            raise not_a_message(message)
        slot, number = address
        if slot == self.slot:
            cell = self.cells.get(number)
            if cell is None:
                self.dead_letters.dead("no_actor", str(address), message)
            else:
                cell.put(message)
            return
        link = self.links.get(slot) or self.link(slot)
        link.outbox.post(OutgoingMessage(number, message))

    async def send(self, address: Address, message: Contract, timeout_s: float | None) -> None:
        """See `Ref.send`."""
        await send_when_room(self, address, message, timeout_s)

    def ask(
        self,
        address: Address | Load | None,
        request: Request[ReplyT],
        timeout_s: float | None = None,
        origin: Ask | None = None,
        kind: type[AskFuture] = AskFuture,
    ) -> Awaitable[ReplyT]:
        """See `Ref.ask`; without an address, an actor that offers the contract answers.

        A `Load` is an address that counts its asks; `kind` is the future that takes the reply.
        Raises `InvalidMessage` and `UsageError` for a request or a timeout that is none; every
        other error comes with the reply.
        """
        if type(type(request)) is not CONTRACT_TYPE:
            raise not_a_message(request)
        expects = getattr(request, "reply_contract", None)
        if expects is None:
            check_message(request)
        deadline_s = self.now() + (
            self.ask_timeout_s if timeout_s is None else checked_timeout(timeout_s)
        )
        if origin is not None and origin.deadline_s < deadline_s:
            deadline_s = origin.deadline_s
        owner: AskOwner = self
        if self.asks_open >= self._asks_open_max and not is_control(address):
            return self._failed_ask(self._too_many_asks(request))
        if address is None:
            chosen = self.directory.route(request)
            if isinstance(chosen, CallboardError):
                return self._failed_ask(chosen)
            address = chosen
        if isinstance(address, Load):
            address.outstanding += 1
            owner, address = address, address.address
        future = kind(self.loop, owner, address, type(request), expects)
        if origin is not None:
            origin.adopt(future)
        if self.tracing is not None:
            self.tracing.asked(future, origin)
        self.asks_open += 1
        if self.deadlines.add(future, deadline_s):
            self.arm_deadlines()
        self.call(address, request, deadline_s, future)
        return future

    def stream(
        self,
        address: Address | None,
        request: Request[Any],
        items: type[Contract],
        timeout_s: float | None = None,
        origin: Ask | None = None,
    ) -> AsyncGenerator[Any, None]:
        """See `Ref.stream`; without an address, an actor that offers the contract answers."""
        return read_stream(self, address, request, items, timeout_s, origin)

    def _too_many_asks(self, request: Contract) -> MailboxFull:
        error = MailboxFull(
            f"{self.asks_open} asks of {self.name} wait for their replies.",
            advice="Await some of them before the next ones, or raise Limits.asks_open_max.",
            may_have_run=False,
        )
        self.dead_letters.dead("too_many_asks", self.name, request, error)
        return error

    def call(self, address: Address, request: Contract, deadline_s: float, call: Call) -> None:
        """Ask with the caller's own object instead of a future: cheaper, for thousands of asks.

        The deadline travels to the handler; on this host the caller must watch it. A request
        that cannot be sent fails the call; nothing is raised.
        """
        slot, number = address
        self._correlation = call.correlation = correlation = self._correlation + 1
        if slot == self.slot:
            cell = self.cells.get(number)
            if cell is None:
                call.fail(correlation, actor_not_found(slot, number))
            else:
                row = (deadline_s, call.step, -1, call.window, call.trace)
                call.local = ask = Ask(request, call, correlation, *row)
                cell.put(ask)
                if not cell.queued and cell.is_blocked:
                    self.circles.suspect(ask, cell)
            return
        self.pending[correlation] = call
        link = self.links.get(slot) or self.link(slot)
        try:
            link.outbox.post(OutgoingMessage(number, request, call, deadline_s))
        except CallboardError as error:
            call.fail(correlation, error)

    def stop_call(self, call: Call, error: CallboardError) -> None:
        """Stop the handler of a call. The call still gets an outcome: now, or from its host."""
        if call.local is not None:
            call.local.stop(error)
        elif call.sent:
            link = self.links.get(call.slot)
            if link is not None:
                link.outbox.control(Kind.CANCEL, 0, call.correlation, encode_error(error))
        else:
            call.fail(call.correlation, error)

    def grant(self, call: Call, count: int, extra_s: float = 0.0) -> None:
        """Let the handler of a call send so many more partial results.

        With `extra_s` it has so many seconds from now on, if that is later than its deadline.
        """
        if call.local is not None:
            call.local.grant(count)
            call.local.extend(self.now() + extra_s)
        elif (link := self.links.get(call.slot)) is not None:
            link.outbox.control(
                Kind.GRANT, count, call.correlation, budget_ms=int(extra_s * 1_000.0)
            )

    def _failed_ask(self, error: CallboardError) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self.loop.create_future()
        future.set_exception(error)
        future.exception()  # Retrieved: a future that nobody awaits must not log it.
        return future

    # --- AskOwner --------------------------------------------------------------------------

    def ask_settled(self, future: AskFuture) -> None:
        """An ask has its outcome: forget it."""
        self.asks_open -= 1
        self.pending.pop(future.correlation, None)
        if future.bucket >= 0:
            self.deadlines.remove(future)

    def ask_abandoned(self, future: AskFuture, error: CallboardError) -> None:
        """An asker gave up: stop the handler, on this host or the other."""
        self.ask_settled(future)
        self.stop_call(future, error)

    def path_asked(self, future: AskFuture) -> str:
        """The path of the actor that an ask is for; its name or number if it is elsewhere."""
        slot, number = future.slot, future.target
        cell = self.cells.get(number) if slot == self.slot else None
        if cell is not None:
            return cell.path
        return f"/{self.directory.name_of(Address(slot, number)) or f'${number}'} on host {slot}"

    def path_asking(self, future: AskFuture) -> str | None:
        """The path of the actor whose handler or hook waits for an ask; None for a driver."""
        return self.circles.path_waiting(future)

    def fail_lost_asks(self, slot: int, error: CallboardError) -> None:
        """A host is lost: fail the asks that have left for it; the others wait on."""
        lost = HostLost(
            error.message,
            advice="Its actors start again elsewhere; ask again if a repetition is safe.",
            may_have_run=True,
        )
        for future in [f for f in self.pending.values() if f.slot == slot and f.sent]:
            future.fail(future.correlation, lost)

    # --- LinkHost -----------------------------------------------------------------------------

    def link_opened(self, slot: int, epoch: int) -> None:
        """The link to another host takes requests now."""
        self.monitors.link_opened(slot, epoch)

    def link_lost(self, slot: int, epoch: int, error: CallboardError) -> None:
        """An incarnation of another host is lost."""
        self.fail_lost_asks(slot, error)
        self.monitors.host_lost(slot, epoch)

    def link_closed(self, slot: int, error: CallboardError) -> None:
        """A slot has ended for good."""
        self.fail_lost_asks(slot, error)
        self.monitors.slot_closed(slot)

    def suspect(self, ask: Ask) -> None:
        """An ask from a link waits for its actor: it may be part of a circle."""
        self.circles.suspect(ask, self.cells[ask.target])

    def take_search(self, correlation: int, body: bytes) -> bool:
        """A search for asks in a circle has come; False when it does not decode."""
        return self.circles.take_search(correlation, body)

    def should_bounce(self, error: CallboardError) -> TypeGuard[AskError]:
        """Whether an ask that fails so goes back to its sender, to wait for this host's restart."""
        return self.spawner.comes_back and is_missing_here(error, self.slot)

    # --- deadlines --------------------------------------------------------------------------

    def arm_deadlines(self) -> None:
        """Set the timer to the next expiry."""
        at_s = self.deadlines.next_expiry_s()
        if at_s is None:
            return
        if self._deadline_timer is not None:
            if self._deadline_at_s <= at_s:
                return
            self._deadline_timer.cancel()
        self._deadline_at_s = at_s
        self._deadline_timer = self.loop.call_at(at_s, self._expire)

    def _expire(self) -> None:
        self._deadline_timer = None
        self.deadlines.expire(self.now())
        self.arm_deadlines()

    # --- links ------------------------------------------------------------------------------

    def link(self, slot: int) -> Link:
        """The link to a slot; messages wait in it until the slot is connected."""
        found = self.links.get(slot)
        if found is None:
            found = self.membership.make_link(slot)
        return found

    def introduce(
        self, slot: int, epoch: int, make_carrier: MakeCarrier, *, is_open: bool = True
    ) -> None:
        """A process is at a slot now; until it is open, it takes only control messages.

        The link is made at the first message, unless there is one already; see `Membership`.
        """
        self.membership.introduce(slot, epoch, make_carrier, is_open=is_open)
        if self._early:
            self.link_connected()

    def forget(self, slot: int, error: HostLost) -> None:
        """A driver has left and never comes back: refuse messages to it, and keep nothing of it."""
        self.membership.forget(slot, error)
        self.dead_letters.forget(slot)

    def has_forgotten(self, slot: int) -> bool:
        """Whether the slot was forgotten: news of it come too late."""
        return self.membership.has_departed(slot)

    def receive(self, data: bytes, references: Sequence[Any] = ()) -> Link | None:
        """Take a frame; returns its link, or None for a frame of an unknown incarnation.

        Raises `FrameError` when the bytes are no frame for this host.
        """
        frame = decode_frame(data, self.limits)
        header = frame.header
        if header.target != self.slot or header.target_epoch != self.epoch:
            return None
        link = self.links.get(header.source) or self.membership.link_to_sender(
            header.source, header.source_epoch
        )
        if link is None or link.epoch != header.source_epoch or link.carrier is None:
            return None
        link.count_received(len(data))
        link.receive(frame, references)
        return link

    def take(self, data: bytes) -> None:
        """Take a frame without answering it on the same call, and wake a worker.

        A frame of an incarnation that is not known yet is kept until then. When too many are
        kept, the oldest is dropped, and its sender sends it again. Raises `FrameError`.
        """
        if self.receive(data) is not None:
            self.dispatcher.wake_now()
        else:
            self._early.append(data)

    def link_connected(self) -> None:
        """A link has connected to a new incarnation: take the frames that came too early."""
        early = list(self._early)
        self._early.clear()
        for data in early:
            header = decode_frame(data, self.limits).header
            link = self.links.get(header.source)
            if link is None or header.source_epoch >= link.epoch:
                self.take(data)

    async def answer(
        self, data: bytes, references: Sequence[Any] = ()
    ) -> tuple[bytes, Sequence[Any]] | None:
        """Take a frame, and return the frame that is ready for its sender.

        The actors get one iteration of the event loop: replies that they give at once travel
        with the return of this call. None as in `receive`.
        """
        link = self.receive(data, references)
        if link is None:
            return None
        link.cork()
        try:
            self.dispatcher.wake_now()
            await asyncio.sleep(0)
            return link.take_frame()
        finally:
            link.uncork()

    # --- actors (see `Spawner` and `Termination`) ---------------------------------------------

    async def spawn(
        self,
        recipe: Recipe,
        parent: Cell | None,
        restart: Restart = Restart.TRANSIENT,
        stop_timeout: StopTimeout | None = None,
    ) -> Cell:
        """Start an actor on this host and wait until it runs."""
        return await self.spawner.spawn(recipe, parent, restart, stop_timeout)

    def children_of(self, cell: Cell | None) -> Children[Cell]:
        """The children of a cell, or of the host itself."""
        return self.spawner.children_of(cell)

    def extension(self, kind: type[ExtensionT]) -> ExtensionT:
        """The extension of that kind; raises `UsageError` when the host has none."""
        return self.extensions.find(kind)

    def run_control(self, recipe: Recipe) -> None:
        """Run this actor in cell 0 from now on, together with the handlers of the extensions."""
        self.spawner.install(recipe, self.extensions.handlers())

    async def lookup(self, name: str, timeout_s: float | None = None) -> Ref[Any]:
        """The actor of a name. Raises `ActorNotFound`."""
        if timeout_s is not None:
            checked_timeout(timeout_s)
        address = self.directory.find(name)
        if address is None:
            raise ActorNotFound(
                f"no actor has the name {name!r}.",
                advice="Spawn it with that name, or list the names with `callboard tree`.",
                may_have_run=False,
            )
        return self.ref(address)

    # --- tasks ------------------------------------------------------------------------------

    def run_task(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in the background of this host; its failure is logged."""
        _ = self.start_task(coroutine)  # Kept in `_tasks` until it is done.

    def start_task(self, coroutine: Coroutine[Any, Any, ReplyT]) -> "asyncio.Task[ReplyT]":
        """Like `run_task`; returns the task, so that the caller can cancel it."""
        task = self.loop.create_task(coroutine, context=fresh_context())
        self._tasks[task] = None
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            LOGGER.error("a task of host %s failed", self.name, exc_info=task.exception())

    def ends_task(self, error: BaseException) -> bool:
        """Whether an error in such a task is no failure of it: it ends from outside.

        That is Ctrl-C, the end of this host, or that of the process before the coroutine.
        """
        if isinstance(error, asyncio.CancelledError):
            return self._is_closed
        if isinstance(error, GeneratorExit):
            return asyncio.current_task(self.loop) not in self._tasks
        return is_interrupt(error)

    async def close(self) -> None:
        """Close at once, without stopping actors in order. Open asks fail."""
        self._is_closed = True
        self.cleanup.close()
        self.circles.close()
        self.extensions.close()
        error = HostLost("the system has stopped.", advice="Start it again.", may_have_run=True)
        for link in self.links.values():
            link.close(error)
        for future in list(self.pending.values()):
            future.fail(future.correlation, error)
        self.meters.close()
        await self.dispatcher.close()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
