"""The frame receiver: checks arrived messages, once, and puts them into mailboxes.

An unknown contract, a wrong version, bytes that do not decode, a missing actor, a passed
deadline: each gives a clear error to the asker, or a dead letter for a tell, and never an
exception on the receiving side.

The receiver also sends the outcomes of the received asks. A message for a full mailbox is
held: its credit is kept back, and its flow key paused at the sender, until there is room.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from callboard.messages.core.contract import Build, Contract
from callboard.messages.core.errors import (
    CallboardError,
    HostLost,
    InternalError,
    InvalidMessage,
    MailboxFull,
    PayloadLost,
    UnknownContract,
)
from callboard.messages.core.frame import STEP_WINDOW, Envelope, Frame, Kind

from ..asks import Ask
from ..failures import text_of
from ..flow_key import FlowKey, read_flow_key
from ..interrupts import is_interrupt
from .core import LinkCore
from .failures import actor_not_found, decode_error, encode_error, restarting_host_error
from .outbox import Outbox
from .parts import Joiner
from .ports import ReceiverHost, Recipient
from .queue import OutgoingMessage

__all__ = ["FrameReceiver"]

LOGGER: Final = logging.getLogger("callboard.link")
EARLY_S: Final = 0.02
"""A request whose handler has not begun so long before its deadline is refused."""
EARLY_SHARE: Final = 0.1 / 1000.0
"""The same for short deadlines: a tenth, of a budget in milliseconds."""


class FrameReceiver:
    """Delivers the frames of one incarnation of a peer, in order. The `ReplySink` of its asks."""

    __slots__ = (
        "_core",
        "_fetching",
        "_host",
        "_joiner",
        "_outbox",
        "_waiting",
        "asks",
        "held",
        "is_closed",
        "slot",
    )

    def __init__(self, host: ReceiverHost, slot: int, core: LinkCore[Any], outbox: Outbox) -> None:
        self._host = host
        self.slot = slot
        """The slot of the peer."""
        self._core = core
        self._outbox = outbox
        self._waiting: deque[tuple[Frame, Sequence[Any]]] = deque()
        self._fetching = False
        self._joiner = Joiner(host.limits)
        self.asks: dict[int, Ask] = {}
        """Asks of the peer that have no outcome yet."""
        self.held: dict[tuple[int, FlowKey], int] = {}
        """How many messages wait here for room, by cell and flow key."""
        self.is_closed = False
        """Whether the incarnation is lost: it takes no outcome any more."""

    def close(self) -> None:
        """The incarnation is lost: stop the handlers of its asks."""
        self.is_closed = True
        asks, self.asks = self.asks, {}
        lost = HostLost(
            f"host {self.slot}, which asked, is lost.", advice="No asker waits for the reply."
        )
        for ask in asks.values():
            ask.stop(lost)

    # --- messages in ------------------------------------------------------------------------

    def accept(self, frame: Frame, references: Sequence[Any]) -> None:
        """Deliver the messages of a frame, after those of the frames before it."""
        if references or self._fetching:
            self._waiting.append((frame, references))
            if not self._fetching:
                self._fetching = True
                self._host.run_task(self._fetch())
        else:
            self._deliver(frame, ())

    async def _fetch(self) -> None:
        """Fetch large values, frame by frame, because the frames must stay in order."""
        get = self._host.large_values.get
        while self._waiting:
            frame, references = self._waiting[0]
            fetched = await asyncio.gather(*map(get, references), return_exceptions=True)
            self._waiting.popleft()
            if not self.is_closed:
                self._deliver(frame, fetched)
                self._outbox.tell_credit()
        self._fetching = False

    # One loop on purpose: it runs for every message that arrives.
    def _deliver(self, frame: Frame, fetched: Sequence[Any]) -> None:  # noqa: C901, PLR0912, PLR0915 - as above
        host, asks = self._host, self.asks
        builders: list[Build | CallboardError | None] = [None] * len(frame.contracts)
        pending, cells, deadlines = host.pending, host.cells, host.deadlines
        decode, now_s, admitted, start = host.codec.decode, host.now(), 0, 0
        for row in frame.envelopes:
            (kind, target, number, contract, body, budget_ms,
             buffers, ref, step, value, window, trace) = row  # fmt: skip
            future = None
            if kind >= Kind.ERROR:
                if kind == Kind.PART:
                    start = self._take_part(row, frame.parts, start)
                else:
                    self._take_other(row, frame, fetched, builders)
                continue
            if kind == Kind.REPLY:
                future = pending.get(number)
                if future is None:
                    self._joiner.drop(value)
                    continue
                if contract < 0:
                    future.reply(number, None)
                    continue
            else:
                admitted += 1
            try:
                if ref >= 0 or value:
                    body, buffers = self._came_apart(row, fetched)
                # A negative number would index the list from its end.
                build = builders[contract] if contract >= 0 else _no_contract()
                if build is None:
                    build = self._builder(frame, contract, builders)
                if isinstance(build, CallboardError):
                    raise build
                message = decode(body, build, buffers)
            except CallboardError as error:
                self._undecodable(row, error)
                continue
            if future is not None:
                future.reply(number, message)
                continue
            cell = cells.get(target)
            if kind == Kind.ASK:
                until_s = now_s + budget_ms / 1000.0
                window = STEP_WINDOW if step else window
                ask = Ask(message, self, number, until_s, step, target, window, trace)
                asks[number] = ask
                if cell is None:
                    ask.fail(actor_not_found(host.slot, target))
                    continue
                # Before the asker's own deadline, so that the asker learns whether it has begun.
                if deadlines.add(ask, until_s - min(EARLY_S, budget_ms * EARLY_SHARE)):
                    host.arm_deadlines()
                if cell.arrive(ask):
                    admitted -= 1
                    self.hold(cell, message)
                if not cell.queued and cell.is_blocked:
                    host.suspect(ask)
            elif cell is None:
                host.dead_letters.dead("no_actor", f"{host.slot}/{target}", message)
            else:
                try:
                    over = cell.arrive(message)
                except MailboxFull as error:
                    host.dead_letters.dead("mailbox_full", cell.path, message, error)
                    continue
                if over:
                    admitted -= 1
                    self.hold(cell, message)
        self.return_credit(admitted)

    def _builder(
        self, frame: Frame, contract: int, builders: list[Build | CallboardError | None]
    ) -> Build | CallboardError:
        build: Build | CallboardError
        try:
            build = self._host.contracts.resolve(*frame.contracts[contract])
        except CallboardError as error:
            build = error
        except Exception as error:  # noqa: BLE001 - a user's schema may raise anything
            build = InternalError(f"contract {frame.contracts[contract]}: {error!r}.")
        builders[contract] = build
        return build

    def _undecodable(self, envelope: Envelope, error: CallboardError) -> None:
        host = self._host
        if envelope.kind == Kind.ASK:
            self.fail(envelope.correlation, _mark_not_run(error))
        elif envelope.kind == Kind.REPLY:
            future = host.pending.get(envelope.correlation)
            if future is not None:
                future.fail(envelope.correlation, error)
        else:
            host.dead_letters.dead("undecodable", f"{host.slot}/{envelope.target}", None, error)

    def _take_part(self, envelope: Envelope, parts: memoryview, start: int) -> int:
        """Keep a part of a large value; returns where the next one begins."""
        number, end = envelope.correlation, start + envelope.budget_ms
        if end == start:
            self._joiner.drop(number)
        elif not self._joiner.add(number, envelope.target, parts[start:end]):
            LOGGER.warning("host %d sent a part of a value over the limits", self.slot)
        return end

    def _came_apart(self, envelope: Envelope, fetched: Sequence[Any]) -> tuple[Any, Any]:
        """The body and the buffers of a large message; raises `PayloadLost`."""
        if envelope.value:
            return self._joiner.take(envelope.value, envelope.body)
        return _fetched(fetched, envelope.reference)

    def _take_other(
        self,
        envelope: Envelope,
        frame: Frame,
        fetched: Sequence[Any],
        builders: list[Build | CallboardError | None],
    ) -> None:
        if envelope.kind == Kind.BOUNCE:
            self._take_bounced(envelope, frame, fetched, builders)
        elif envelope.kind == Kind.PARTIAL:
            self._take_partial(envelope, frame, builders)
        else:
            self._control(envelope)

    def _take_partial(
        self,
        envelope: Envelope,
        frame: Frame,
        builders: list[Build | CallboardError | None],
    ) -> None:
        """A partial result of an ask of this host. It came whole: larger ones are refused."""
        contract, number = envelope.contract, envelope.correlation
        future = self._host.pending.get(number)
        if future is None:
            return
        try:
            build = self._builder(frame, contract, builders) if contract >= 0 else _no_contract()
            if isinstance(build, CallboardError):
                raise build
            message = self._host.codec.decode(envelope.body, build, envelope.buffers)
        except CallboardError as error:
            # The asker cannot have what it asked for. The handler's end is the outcome.
            self._outbox.control(Kind.CANCEL, 0, number, encode_error(error))
        else:
            future.partial(number, message)

    def _take_bounced(
        self,
        envelope: Envelope,
        frame: Frame,
        fetched: Sequence[Any],
        builders: list[Build | CallboardError | None],
    ) -> None:
        """An ask of this host has bounced: it waits here for the restart of its peer."""
        host = self._host
        future = host.pending.get(envelope.correlation)
        if future is None:
            self._joiner.drop(envelope.value)
            return
        buffers: Sequence[Any] = envelope.buffers
        body: bytes | memoryview = envelope.body
        contract = envelope.contract
        try:
            if envelope.reference >= 0 or envelope.value:
                body, buffers = self._came_apart(envelope, fetched)
            build = self._builder(frame, contract, builders) if contract >= 0 else _no_contract()
            if isinstance(build, CallboardError):
                raise build
            message = host.codec.decode(body, build, buffers)
        except CallboardError as error:
            future.fail(envelope.correlation, _mark_not_run(error))
            return
        until_s = host.now() + envelope.budget_ms / 1000.0
        self._outbox.put_bounced(OutgoingMessage(envelope.target, message, future, until_s))

    def _control(self, envelope: Envelope) -> None:
        kind, correlation = envelope.kind, envelope.correlation
        if kind == Kind.ERROR:
            future = self._host.pending.get(correlation)
            if future is not None:
                future.fail(correlation, decode_error(envelope.body))
        elif kind == Kind.CANCEL:
            ask = self.asks.get(correlation)
            if ask is not None:
                ask.stop(decode_error(envelope.body))
        elif kind == Kind.GRANT:
            ask = self.asks.get(correlation)
            if ask is not None and envelope.target >= 0:
                ask.grant(envelope.target)
                ask.extend(self._host.now() + envelope.budget_ms / 1000.0)
        elif kind == Kind.SEARCH:
            if not self._host.take_search(correlation, envelope.body):
                LOGGER.warning(
                    "host %d sent a search that does not decode: %r", self.slot, envelope.body[:80]
                )
        elif (flow_key := read_flow_key(envelope.body)) is None:
            LOGGER.warning(
                "host %d sent a flow key that does not decode: %r", self.slot, envelope.body[:80]
            )
        elif kind == Kind.PAUSE:
            self._outbox.pause(envelope.target, flow_key)
        elif kind == Kind.RESUME:
            self._outbox.resume(envelope.target, flow_key)

    # --- room -------------------------------------------------------------------------------

    def return_credit(self, count: int) -> None:
        """Return the credit of so many envelopes, which are in their mailboxes now."""
        self._core.admitted += count

    def hold(self, cell: Recipient, message: Contract) -> None:
        """Keep the credit of a message without room, and pause its flow key at the sender."""
        self._core.held += 1
        place = (cell.id, cell.flow_key_of(message))
        if place in self.held:
            self.held[place] += 1
            return
        self.held[place] = 1
        cell.when_room(message, lambda: self._release(place))
        number, flow_key = place
        self._outbox.control(Kind.PAUSE, number, 0, flow_key.to_bytes())

    def _release(self, place: tuple[int, FlowKey]) -> None:
        if not self.is_closed:
            count = self.held.pop(place, 0)
            self._core.held -= count
            self._core.admitted += count
            number, flow_key = place
            self._outbox.control(Kind.RESUME, number, 0, flow_key.to_bytes())

    def extend(self, ask: Ask) -> bool:
        """Wait for the rest of an ask's time; False when that has passed."""
        host = self._host
        if host.now() >= ask.deadline_s:
            return False
        if host.deadlines.add(ask, ask.deadline_s):
            host.arm_deadlines()
        return True

    def path_of(self, target: int) -> str:
        """The path of a cell of this host, and the host's name."""
        cell = self._host.cells.get(target)
        return f"{f'${target}' if cell is None else cell.path} on {self._host.name}"

    # --- outcomes of asks -------------------------------------------------------------------

    def reply(self, correlation: int, message: Contract | None) -> None:
        """Send the reply to an ask of the peer."""
        if self.asks.pop(correlation, None) is None or self.is_closed:
            return
        try:
            self._outbox.reply(correlation, message)
        except CallboardError as error:
            self.fail(correlation, error)
        except BaseException as error:
            if is_interrupt(error):
                raise
            text = f"a {type(message).__qualname__} cannot be encoded: {text_of(error)}."
            self.fail(correlation, InvalidMessage(text, advice="Its own code has raised that."))

    def partial(self, correlation: int, message: Contract) -> None:
        """Send a partial result for an ask of the peer. Raises a `ContractError`."""
        if correlation in self.asks and not self.is_closed:
            self._outbox.partial(correlation, message)

    def fail(self, correlation: int, error: CallboardError) -> None:
        """Send the failure of an ask of the peer.

        When the actor has stopped because its host restarts, an ask that has not run bounces
        instead: it goes back to its sender, and waits there for the actor.
        """
        ask = self.asks.pop(correlation, None)
        if self.is_closed:
            return
        if ask is not None and self._host.should_bounce(error):
            if not error.may_have_run and self._bounce(ask):
                return
            # Other messages for this actor wait at their sender for the next incarnation.
            self._outbox.control(Kind.PAUSE, ask.target)
            error = restarting_host_error(self._host.name, error)
        self._outbox.control(Kind.ERROR, 0, correlation, encode_error(error))

    def _bounce(self, ask: Ask) -> bool:
        try:
            self._outbox.bounce(ask)
        except CallboardError:
            return False  # This host cannot encode it as it came.
        return True


def _fetched(fetched: Sequence[Any], reference: int) -> tuple[bytes, Sequence[Any]]:
    if reference >= len(fetched):
        raise PayloadLost("a message came without its large value.", advice="Send it again.")
    value = fetched[reference]
    if isinstance(value, CallboardError):
        raise value
    if isinstance(value, BaseException):
        raise PayloadLost(f"a large value cannot be fetched: {value!r}.", advice="Send it again.")
    body, buffers = value
    return body, buffers


def _mark_not_run(error: CallboardError) -> CallboardError:
    error.details.setdefault("may_have_run", False)
    return error


def _no_contract() -> CallboardError:
    return UnknownContract("a message names no contract.", advice="Please report this.")
