"""The context of a handler: ask, tell, spawn, watch, and look up.

A context belongs to one message. Its asks inherit the rest of that message's deadline, and
a cancellation of the message cancels them.
"""

import math
import threading
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from typing import Any, Final, NoReturn, Protocol, TypeVar

from callboard.messages.control.approvals import DEADLINE_S, Approval, AskApproval
from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.lifecycle import ENDED_NORMALLY, Exit
from callboard.messages.control.notices import NameChanged, Offers
from callboard.messages.control.spec import Restart, StopTimeout
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorStopped, DeadlineExceeded, UsageError
from callboard.messages.core.ref import CONTRACT_TYPE, Address, Ref, not_a_message
from callboard.messages.core.timeouts import checked_timeout

from .approvals import approval_id, wait_for_approval
from .asks import Ask
from .cell_port import CellPort
from .directory.registry import Directory
from .directory.subscriptions import Subscriptions, contract_name_of
from .inspection.meter import Meter
from .inspection.metric_sources import Instruments, Source
from .monitors.monitors import Monitors, Watch
from .publishing import Publishing
from .spawnable import Spawnable
from .stash import Stashed, Stashes
from .timers import Timer, Timers

__all__ = ["ActorHooks", "Context", "ContextHost"]

ActorT = TypeVar("ActorT", bound="ActorHooks")
ReplyT = TypeVar("ReplyT")
ItemT = TypeVar("ItemT", bound=Contract)


class ActorHooks(Protocol):
    """The hooks of every actor; see `Actor`, from which all derive."""

    async def started(self, ctx: "Context") -> None:
        """The kernel calls this before the first message."""

    async def stopping(self, ctx: "Context", reason: Exit) -> None:
        """The kernel calls this in an ordered stop."""


class ContextHost(Protocol):
    """What a context needs of its host."""

    @property
    def slot(self) -> int:
        """Its place in the cluster."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def directory(self) -> Directory:
        """Names and offers."""

    @property
    def monitors(self) -> Monitors:
        """Watches and links."""

    @property
    def timers(self) -> Timers:
        """Timers of its actors."""

    @property
    def subscriptions(self) -> Subscriptions:
        """Subscriptions to the directory."""

    @property
    def stashes(self) -> Stashes:
        """The stashes of its actors."""

    @property
    def instruments(self) -> Instruments:
        """The metric sources of its actors."""

    @property
    def meter(self) -> Meter:
        """The meter of its actors."""

    @property
    def publishing(self) -> Publishing:
        """What its actors publish with."""

    def now(self) -> float:
        """Its time in seconds."""

    def ref(self, address: Address) -> Ref[Any]:
        """A reference that is bound to this host."""

    def tell(self, address: Address, message: Contract) -> None:
        """See `Ref.tell`."""

    async def send(self, address: Address, message: Contract, timeout_s: float | None) -> None:
        """See `Ref.send`."""

    def ask(
        self,
        address: Address | None,
        request: Request[ReplyT],
        timeout_s: float | None = None,
        origin: Ask | None = None,
    ) -> Awaitable[ReplyT]:
        """See `Ref.ask`; without an address, an actor that offers the contract answers."""

    def stream(
        self,
        address: Address | None,
        request: Request[Any],
        items: type[Contract],
        timeout_s: float | None = None,
        origin: Ask | None = None,
    ) -> AsyncGenerator[Any, None]:
        """See `Ref.stream`; without an address, an actor that offers the contract answers."""

    async def lookup(self, name: str, timeout_s: float | None = None) -> Ref[Any]:
        """The actor of a name. Raises `ActorNotFound`."""


class Context:
    """One message's view of the system. Use it on the event loop only, except `cancelled`."""

    __slots__ = ("_ask", "_cancelled", "_cell", "_fence", "_host", "config")

    def __init__(self, host: ContextHost, cell: CellPort, ask: Ask | None) -> None:
        self._host = host
        self._cell = cell
        self._ask = ask
        self._cancelled: threading.Event | None = None
        self._fence = cell.fence
        self.config: Final = cell.snapshot
        """The snapshot of configuration that this message is handled under; None without one."""

    @property
    def self_ref(self) -> Ref[Any]:
        """A reference to the actor itself."""
        return self._host.ref(Address(self._host.slot, self._cell.id))

    @property
    def path(self) -> str:
        """The actor's path on its host."""
        return self._cell.path

    @property
    def host_name(self) -> str:
        """The name of the host that runs the actor."""
        return self._host.name

    @property
    def meter(self) -> Meter:
        """The meter of this host: `ctx.meter.count("orders_total", kind="book")`.

        Any thread may use it, and actors may keep it, and the instruments that it binds.
        """
        return self._host.meter

    @property
    def cancelled(self) -> threading.Event:
        """Set once the asker has given up; a synchronous handler checks it."""
        if self._cancelled is None:
            self._cancelled = threading.Event()
        return self._cancelled

    @property
    def idempotency_key(self) -> str:
        """The same text for every attempt of a step of an execution, also after a resume.

        Pass it to each service with an effect outside: a service that recognises the key
        does nothing twice. Empty for a message that is no sub-task.
        """
        return "" if self._ask is None else self._ask.step

    @property
    def fence(self) -> int:
        """The fencing token of this incarnation of the actor: a positive number of 64 bits.

        It grows with every incarnation of the same address, and of the same key of a keyed
        actor: after a restart, on the next process of the host, and after the root has come
        back. A store that keeps the highest token it has seen, and refuses lower ones, is safe
        from an incarnation that has been replaced and still runs. See docs/fencing.md.
        """
        return self._fence

    def remaining_s(self) -> float | None:
        """The seconds left until this message's deadline; None when it has none."""
        if self._ask is None or self._ask.deadline_s == math.inf:
            return None
        return max(0.0, self._ask.deadline_s - self._host.now())

    def ask(
        self,
        request: Request[ReplyT],
        to: Ref[Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Awaitable[ReplyT]:
        """The reply to `request`, from `to` or else from an actor that offers its contract.

        The ask ends after `timeout_s` or at this message's deadline, whichever comes first.
        Awaiting it raises an `AskError` or a `ContractError`; `NoAgentOffers` when `to` is
        left out and no actor offers the contract.
        """
        if type(type(request)) is not CONTRACT_TYPE:
            raise not_a_message(request)  # Here, too: the arguments may be in the wrong order.
        return self._host.ask(
            None if to is None else to.address, request, timeout_s, origin=self._ask
        )

    def stream(
        self,
        request: Request[ReplyT],
        items: type[ItemT],
        to: Ref[Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[ItemT | ReplyT, None]:
        """Like `Ref.stream` within this message's deadline, of `to` or an actor that offers it."""
        if type(type(request)) is not CONTRACT_TYPE:
            raise not_a_message(request)
        address = None if to is None else to.address
        return self._host.stream(address, request, items, timeout_s, self._ask)

    def tell(self, message: Contract, to: Ref[Any] | None = None) -> None:
        """Like `Ref.tell`, to `to` or else to an actor that offers the contract.

        Raises `NoAgentOffers` too, and `UsageError` when the message does not stand first.
        """
        if type(type(message)) is not CONTRACT_TYPE:
            raise not_a_message(message)
        if to is None:
            self._host.tell(self._host.directory.address_for(message), message)
        else:
            to.tell(message)

    async def send(
        self, message: Contract, to: Ref[Any] | None = None, *, timeout_s: float | None = None
    ) -> None:
        """Like `Ref.send` within this message's deadline, to `to` or an actor that offers it.

        Raises like `tell`.
        """
        if type(type(message)) is not CONTRACT_TYPE:
            raise not_a_message(message)
        if timeout_s is not None:
            checked_timeout(timeout_s)
        remaining = self.remaining_s()
        if remaining is not None:
            if not remaining:
                raise DeadlineExceeded(
                    f"the deadline of the message that {self.path} handles has passed.",
                    advice="Raise the timeout_s of its asker.",
                    may_have_run=False,
                )
            timeout_s = remaining if timeout_s is None else min(timeout_s, remaining)
        address = self._host.directory.address_for(message) if to is None else to.address
        await self._host.send(address, message, timeout_s)

    async def approval(
        self,
        subject: str,
        *,
        details: Mapping[str, Any] | None = None,
        deadline_s: float = DEADLINE_S,
        gives_at_deadline: bool = False,
        needed: int = 1,
        deciders: Sequence[str] = (),
        excludes_asker: bool = False,
        asked_by: str = "",
        key: str = "",
    ) -> Approval:
        """Ask a person, and wait for the answer: `(await ctx.approval("Pay 3 EUR?")).is_given`.

        Every attempt of a sub-task asks the same question, also after a resume, and gets the same
        answer. `key` tells questions with the same subject apart; a message that is no sub-task
        needs one. `needed` of the `deciders` (default: of all with the scope `approve`) must say
        yes within `deadline_s`; one no is enough. The deadline of this message counts, too: give
        the sub-task a longer one. This actor handles its other messages as usual meanwhile.

        Raises `ActorNotFound` in a system without approvals, `ApprovalsFull`, and `UsageError`
        for a question that nobody could answer, or whose key was used for another one.
        """
        step = self.idempotency_key
        if not (step or key):
            raise UsageError(
                f"{self.path} asks for an approval in a message that is no sub-task.",
                advice="Give the question a key: a repetition is recognised by it.",
            )
        request = AskApproval(
            id=approval_id(step, key, subject),
            subject=subject,
            details=dict(details or {}),
            asked_by=asked_by or f"{self.host_name}{self.path}",
            step=step,
            deadline_s=deadline_s,
            gives_at_deadline=gives_at_deadline,
            needed=needed,
            deciders=tuple(deciders),
            excludes_asker=excludes_asker,
        )
        return await wait_for_approval(self, request)

    async def spawn(
        self,
        actor: Spawnable[ActorT],
        *,
        name: str | None = None,
        restart: Restart = Restart.TRANSIENT,
        stop_timeout: StopTimeout | None = None,
    ) -> Ref[ActorT]:
        """Start a child on this host; it lives at most as long as this actor.

        `actor` is a class, or `props(Class, ...)` with its constructor's arguments. Raises
        `ActorStartFailed` when its constructor or hook fails, `NameTaken` when a living
        sibling has the name, `SpecError` when the class is not a proper actor or its
        constructor needs arguments.
        """
        number = await self._cell.spawn_child(actor, name, restart, stop_timeout)
        return self._host.ref(Address(self._host.slot, number))

    def children(self) -> Sequence[Ref[Any]]:
        """The living children, in the order of their start."""
        slot, ref = self._host.slot, self._host.ref
        return tuple(ref(Address(slot, number)) for number in self._cell.child_numbers())

    async def stop_child(self, child: Ref[Any]) -> None:
        """Stop a child in order, and wait until it has stopped."""
        await self._cell.stop_child(child.address.cell)

    def stash(self) -> NoReturn:
        """Stash the current message, and end its handler here.

        `unstash_all` puts it back into the mailbox. An ask stays open, and its deadline still
        counts. Raises `StashFull` when the stash holds `stash_messages` already.
        """
        self._host.stashes.check_room(self._cell)
        raise Stashed

    def unstash_all(self) -> int:
        """Put all stashed messages before the waiting ones; returns how many there were."""
        stashed = self._host.stashes.take(self._cell)
        self._cell.put_first(stashed)
        self._cell.schedule()
        return len(stashed)

    def stop(self, reason: Exit = ENDED_NORMALLY) -> None:
        """Stop this actor after the current message; a transient one is not restarted."""
        self._cell.stop_self(reason)

    # --- notices to this actor ----------------------------------------------------------------

    def watch(self, ref: Ref[Any]) -> Watch:
        """Get one `Down` when the current incarnation of the actor behind `ref` ends.

        This actor's handler for `Down` gets it. A task can also await the `Watch`; its
        `cancel` does the same as `unwatch`.

        If there is no such actor, the `Down` (`NO_ACTOR`) comes at once. If the actor is just
        being restarted, the watch is on its next incarnation. A watch ends with its `Down`,
        and when this actor itself restarts or stops. Two watches give two notices. Raises
        `UsageError` when this actor has no handler for `Down`, or when it already has
        `MONITORS_MAX` watches and links.
        """
        return self._host.monitors.watch(self._live_cell(), ref)

    def watch_host(self, number: int) -> Watch:
        """Watch a host by its number: the watch is on its process, not on its slot."""
        return self._host.monitors.watch(self._live_cell(), self.host_ref(number))

    def host_ref(self, number: int) -> Ref[Any]:
        """The control actor of a host; that of host 0 is the root's endpoint."""
        return self._host.ref(Address(number, CONTROL_CELL))

    def unwatch(self, watched: Watch | Ref[Any]) -> None:
        """End a watch, or all watches on one actor; no handler gets their `Down` after this."""
        self._host.monitors.unwatch(self._live_cell(), watched)

    def link(self, ref: Ref[Any]) -> None:
        """Link this actor and another one, on any host.

        When either ends abnormally, the other fails with the same reason, and its supervisor
        decides. An actor with `trap_exits` gets an `Exited` instead, also for a normal end. A
        link to an actor that does not exist acts as an end with `NO_ACTOR`. A second link to
        the same actor changes nothing. Raises `UsageError`.
        """
        self._host.monitors.link(self._live_cell(), ref)

    def unlink(self, ref: Ref[Any]) -> None:
        """End a link: the other actor's end has no effect on this one after this."""
        self._host.monitors.unlink(self._live_cell(), ref)

    def send_after(self, delay_s: float, message: Contract) -> Timer:
        """Send this actor a message after `delay_s` seconds; a restart cancels it.

        Raises `UsageError` for a delay out of range, a message that this actor has no handler
        for, or more timers than `TIMERS_MAX`.
        """
        return self._host.timers.after(self._live_cell(), delay_s, message)

    def send_every(self, period_s: float, message: Contract) -> Timer:
        """Send this actor a message every `period_s` seconds, first after one period.

        While one of them waits in the mailbox, or the mailbox is full, the timer skips the
        next ones. Raises like `send_after`.
        """
        return self._host.timers.every(self._live_cell(), period_s, message)

    def publish(self, channel: str, event: Contract, *, key: str = "") -> bool:
        """Publish an event to a channel of the stream hub, for clients outside of the system.

        It never waits: what nobody can get is dropped, and counted; then it returns False. With
        a key, the event is the newest value of this key, and a slow client gets only that one.
        Any thread may call it. Raises `UsageError` for a channel of the system's own, and for an
        event that is too large.
        """
        return self._host.publishing.publish(
            channel, event, source=f"{self._host.name}{self.path}", key=key
        )

    def subscribe(self, contract: type[Contract] | str) -> None:
        """Get the actors that offer a contract (`Offers`), at once and after each change.

        They may be anywhere in the system. Raises `UsageError` when this actor has no handler
        for `Offers`, or more subscriptions than `SUBSCRIPTIONS_MAX`.
        """
        subject = (Offers, contract_name_of(contract))
        self._host.subscriptions.subscribe(self._live_cell(), subject)

    def offers(self, contract: type[Contract] | str) -> Sequence[Ref[Any]]:
        """The actors that offer a contract now, anywhere in the system."""
        found = self._host.directory.offers(contract_name_of(contract))
        return tuple(self._host.ref(address) for address in found)

    def unsubscribe(self, contract: type[Contract] | str) -> None:
        """End that subscription; no handler gets an `Offers` of the contract after this."""
        subject = (Offers, contract_name_of(contract))
        self._host.subscriptions.unsubscribe(self._live_cell(), subject)

    def subscribe_name(self, name: str) -> None:
        """Get the actor that has a name (`NameChanged`), at once and after each change."""
        self._host.subscriptions.subscribe(self._live_cell(), (NameChanged, name))

    def unsubscribe_name(self, name: str) -> None:
        """End that subscription; no handler gets a `NameChanged` of the name after this."""
        self._host.subscriptions.unsubscribe(self._live_cell(), (NameChanged, name))

    def measure(self, source: Source) -> None:
        """Add the readings of `source` to this host's metrics, until this incarnation ends.

        The host calls it every few seconds, on the event loop. The metric names are those of
        `telemetry.names.METRICS`.
        """
        self._host.instruments.add_for(self._live_cell().id, source)

    def _live_cell(self) -> CellPort:
        cell = self._cell
        if not cell.has_actor:
            raise ActorStopped(
                f"{cell.path} has ended, but this handler still runs.",
                advice="Let the handler end when it is cancelled.",
            )
        return cell

    async def lookup(self, name: str, *, timeout_s: float | None = None) -> Ref[Any]:
        """The actor of that name, anywhere in the system; raises `ActorNotFound`."""
        return await self._host.lookup(name, timeout_s)
