"""What a handler may do besides computing: ask, tell, spawn, look up.

A context belongs to one message. Its asks inherit what is left of that message's
deadline, and are cancelled with it.
"""

import math
import threading
from collections.abc import Awaitable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.lifecycle import ENDED_NORMALLY, Exit
from callboard.messages.control.notices import NameChanged, Offers
from callboard.messages.control.spec import Restart, StopTimeout
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorStopped
from callboard.messages.core.ref import Address, Ref, message_comes_first

from .asks import Ask
from .cell_port import CellPort
from .directory.registry import Directory
from .directory.subscriptions import Subscriptions, contract_name_of
from .inspection.metric_sources import Instruments, Source
from .monitors.monitors import Monitors, Watch
from .spawnable import Spawnable
from .stash import Stashed, Stashes
from .timers import Timer, Timers

__all__ = ["ActorHooks", "Context", "ContextHost"]

ActorT = TypeVar("ActorT", bound="ActorHooks")
ReplyT = TypeVar("ReplyT")


class ActorHooks(Protocol):
    """What every actor has: see `Actor`, from which all derive."""

    async def started(self, ctx: "Context") -> None:
        """Called before the first message."""

    async def stopping(self, ctx: "Context", reason: Exit) -> None:
        """Called when the actor stops in order."""


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
        """What its actors have put aside."""

    @property
    def instruments(self) -> Instruments:
        """What its actors measure."""

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
        """See `Ref.ask`; without an address, whoever offers the contract is asked."""

    async def lookup(self, name: str, timeout_s: float | None = None) -> Ref[Any]:
        """The actor of a name. Raises `ActorNotFound`."""


class Context:
    """One message's view of the system. Use it on the event loop only, except `cancelled`."""

    __slots__ = ("_ask", "_cancelled", "_cell", "_host")

    def __init__(self, host: ContextHost, cell: CellPort, ask: Ask | None) -> None:
        self._host = host
        self._cell = cell
        self._ask = ask
        self._cancelled: threading.Event | None = None

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
    def cancelled(self) -> threading.Event:
        """Set when the asker has given up: for synchronous handlers to look at."""
        if self._cancelled is None:
            self._cancelled = threading.Event()
        return self._cancelled

    @property
    def idempotency_key(self) -> str:
        """The same text for every attempt of a step of an execution, also after a resume.

        Give it to whatever has an effect outside: a service that knows it again does nothing
        twice. Empty for a message that is no sub-task.
        """
        return "" if self._ask is None else self._ask.step

    def remaining_s(self) -> float | None:
        """What is left of this message's deadline in seconds; None when it has none."""
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

        Within `timeout_s` and what is left of this message's deadline, whichever ends
        first. Raises, when awaited, an `AskError` or a `ContractError`; `NoAgentOffers`
        when `to` is left out and nobody offers the contract.
        """
        if isinstance(request, Ref):
            raise message_comes_first()
        return self._host.ask(
            None if to is None else to.address, request, timeout_s, origin=self._ask
        )

    def tell(self, message: Contract, to: Ref[Any] | None = None) -> None:
        """Like `Ref.tell`, to `to` or else to an actor that offers the contract.

        Raises `NoAgentOffers` too, and `UsageError` when the message does not stand first.
        """
        if isinstance(message, Ref):
            raise message_comes_first()
        if to is None:
            self._host.tell(self._host.directory.address_for(message), message)
        else:
            to.tell(message)

    async def send(
        self, message: Contract, to: Ref[Any] | None = None, *, timeout_s: float | None = None
    ) -> None:
        """Like `Ref.send`, within this message's deadline, to `to` or to an actor that offers it.

        Raises like `tell`.
        """
        if isinstance(message, Ref):
            raise message_comes_first()
        remaining = self.remaining_s()
        if remaining is not None:
            timeout_s = remaining if timeout_s is None else min(timeout_s, remaining)
        address = self._host.directory.address_for(message) if to is None else to.address
        await self._host.send(address, message, timeout_s)

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
        """Put the message aside that is being handled, and end its handler here.

        `unstash_all` gives it back. An ask stays open, and its deadline goes on. Raises
        `StashFull` when `stash_messages` are aside already.
        """
        self._host.stashes.check_room(self._cell)
        raise Stashed

    def unstash_all(self) -> int:
        """Put everything that is stashed back, before what waits; gives how much that was."""
        stashed = self._host.stashes.take(self._cell)
        self._cell.put_first(stashed)
        self._cell.schedule()
        return len(stashed)

    def stop(self, reason: Exit = ENDED_NORMALLY) -> None:
        """Stop this actor after the current message; a transient one is not restarted."""
        self._cell.stop_self(reason)

    # --- what an actor can ask to be told -------------------------------------------------

    def watch(self, ref: Ref[Any]) -> Watch:
        """Get one `Down` when the incarnation that runs behind `ref` ends.

        Its handler gets the notice. The `Watch` can be awaited for it too, and its `cancel` is
        `unwatch`.

        At once (`NO_ACTOR`) when there is none; of an actor that is just being restarted the
        next incarnation is watched. Then the watch is over, as it is when this actor itself
        is restarted or stops. Watching twice gives two notices. Raises `UsageError` when this
        actor has no handler for `Down`, or more watches and links than `MONITORS_MAX`.
        """
        return self._host.monitors.watch(self._living(), ref)

    def watch_host(self, number: int) -> Watch:
        """The same for a host, by its number: its process, whatever becomes of its slot."""
        ref = self._host.ref(Address(number, CONTROL_CELL))
        return self._host.monitors.watch(self._living(), ref)

    def unwatch(self, watched: Watch | Ref[Any]) -> None:
        """End a watch, or all watches on one actor: no `Down` of theirs is handled after this."""
        self._host.monitors.unwatch(self._living(), watched)

    def link(self, ref: Ref[Any]) -> None:
        """Tie this actor's life to another's, wherever it lives, and that one's to this.

        When either ends abnormally, the other fails with the same reason, and its supervisor
        decides; with `trap_exits` it gets an `Exited` instead, of normal ends too. Linking
        to an actor that is not there is felt as an end with `NO_ACTOR`. Linking twice is
        linking once. Raises `UsageError`.
        """
        self._host.monitors.link(self._living(), ref)

    def unlink(self, ref: Ref[Any]) -> None:
        """End a link: the other's end is not felt after this."""
        self._host.monitors.unlink(self._living(), ref)

    def send_after(self, delay_s: float, message: Contract) -> Timer:
        """Send this actor a message after `delay_s` seconds, if it has not been restarted.

        Raises `UsageError` for a delay that is none, a message that this actor has no
        handler for, or more timers than `TIMERS_MAX`.
        """
        return self._host.timers.after(self._living(), delay_s, message)

    def send_every(self, period_s: float, message: Contract) -> Timer:
        """Send this actor a message every `period_s` seconds, first after one period.

        While one of them waits in the mailbox, or that is full, the next ones are left out.
        Raises like `send_after`.
        """
        return self._host.timers.every(self._living(), period_s, message)

    def subscribe(self, contract: type[Contract] | str) -> None:
        """Get an `Offers` of who offers a contract, at once and after each change.

        Anywhere in the system. Raises `UsageError` when this actor has no handler for
        `Offers`, or more subscriptions than `SUBSCRIPTIONS_MAX`.
        """
        subject = (Offers, contract_name_of(contract))
        self._host.subscriptions.subscribe(self._living(), subject)

    def unsubscribe(self, contract: type[Contract] | str) -> None:
        """No `Offers` of that contract is handled after this."""
        subject = (Offers, contract_name_of(contract))
        self._host.subscriptions.unsubscribe(self._living(), subject)

    def subscribe_name(self, name: str) -> None:
        """Get a `NameChanged` of who has a name, at once and after each change."""
        self._host.subscriptions.subscribe(self._living(), (NameChanged, name))

    def unsubscribe_name(self, name: str) -> None:
        """No `NameChanged` of that name is handled after this."""
        self._host.subscriptions.unsubscribe(self._living(), (NameChanged, name))

    def measure(self, source: Source) -> None:
        """Tell what `source` reads among this host's metrics, until this incarnation ends.

        It is called every few seconds, on the event loop. Names are `telemetry.names.METRICS`.
        """
        self._host.instruments.add_for(self._living().id, source)

    def _living(self) -> CellPort:
        cell = self._cell
        if not cell.has_actor:
            raise ActorStopped(
                f"{cell.path} has ended while this handler went on.",
                advice="Let the handler end when it is cancelled.",
            )
        return cell

    async def lookup(self, name: str, *, timeout_s: float | None = None) -> Ref[Any]:
        """The actor of that name, anywhere in the system; raises `ActorNotFound`."""
        return await self._host.lookup(name, timeout_s)
