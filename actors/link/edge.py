"""The edge of a host: where what arrived is checked, once, and put into mailboxes.

Unknown contract, wrong version, bytes that do not decode, no such actor, a passed
deadline: each is a clear error to the asker, or a dead letter of a tell; never an
exception on the receiving side, and never silence.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from callboard.messages.contract import Contract
from callboard.messages.errors import (
    CallboardError,
    InternalError,
    MailboxFull,
    PayloadLost,
    UnknownContract,
)
from callboard.messages.frame import Envelope, Frame, Kind

from ..asks import Ask
from ..failures import actor_not_found
from ..flow_key import read_lane
from .failures import decode_error
from .rows import Waiting

__all__ = ["Edge"]

LOGGER: Final = logging.getLogger("callboard.link")
Build = Callable[[dict[str, Any]], Contract]


class Edge:
    """Unpacks the frames of one link, in order."""

    __slots__ = ("_fetching", "_link", "_waiting")

    def __init__(self, link: Any) -> None:
        self._link = link
        self._waiting: deque[tuple[Frame, Sequence[Any]]] = deque()
        self._fetching = False

    def accept(self, frame: Frame, references: Sequence[Any]) -> None:
        """Deliver a frame's messages, after those of the frames before it."""
        if references or self._fetching:
            self._waiting.append((frame, references))
            if not self._fetching:
                self._fetching = True
                self._link.host.run_task(self._fetch())
        else:
            self._deliver(frame, ())

    async def _fetch(self) -> None:
        """Fetch large values, frame by frame: order is worth more than overlap here."""
        link = self._link
        while self._waiting:
            frame, references = self._waiting[0]
            fetched = await asyncio.gather(
                *(link.host.blobs.get(reference) for reference in references),
                return_exceptions=True,
            )
            self._waiting.popleft()
            if link.is_current(self):
                self._deliver(frame, fetched)
        self._fetching = False

    # One loop on purpose: it runs for every message that arrives.
    def _deliver(  # noqa: C901, PLR0912, PLR0915 - as above
        self, frame: Frame, fetched: Sequence[Any]
    ) -> None:
        host = self._link.host
        builders: list[Build | CallboardError | None] = [None] * len(frame.contracts)
        pending, cells, deadlines = host.pending, host.cells, host.deadlines
        decode = host.codec.decode
        now_s = host.now()
        admitted = 0
        for envelope in frame.envelopes:
            kind, target, correlation, contract, body, budget_ms, beside, reference, step = envelope
            future = None
            if kind >= Kind.ERROR:
                if kind == Kind.RETURN:
                    self._came_back(envelope, frame, fetched, builders)
                else:
                    self._control(envelope)
                continue
            if kind == Kind.REPLY:
                future = pending.get(correlation)
                if future is None:
                    continue
                if contract < 0:
                    future.reply(correlation, None)
                    continue
            else:
                admitted += 1
            try:
                buffers: Sequence[Any] = beside
                if reference >= 0:
                    body, buffers = _fetched(fetched, reference)
                # A number below 0 would name the last one.
                build = builders[contract] if contract >= 0 else _no_contract()
                if build is None:
                    build = self._builder(frame, contract, builders)
                if isinstance(build, CallboardError):
                    raise build
                message = decode(body, build, buffers)
            except CallboardError as error:
                self._undecodable(envelope, error)
                continue
            if future is not None:
                future.reply(correlation, message)
                continue
            cell = cells.get(target)
            if kind == Kind.ASK:
                until_s = now_s + budget_ms / 1000.0
                ask = Ask(message, self._link, correlation, until_s, step, target)
                self._link.asks[correlation] = ask
                if cell is None:
                    ask.fail(actor_not_found(host.slot, target))
                    continue
                if deadlines.add(ask, ask.deadline_s):
                    host.arm_deadlines()
                if cell.arrive(ask):
                    admitted -= 1
                    self._link.hold(cell, message)
            elif cell is None:
                host.letters.dead("no_actor", f"{host.slot}/{target}", message)
            else:
                try:
                    over = cell.arrive(message)
                except MailboxFull as error:
                    host.letters.dead("mailbox_full", cell.path, message, error)
                    continue
                if over:
                    admitted -= 1
                    self._link.hold(cell, message)
        self._link.admitted(admitted)

    def _builder(
        self, frame: Frame, contract: int, builders: list[Build | CallboardError | None]
    ) -> Build | CallboardError:
        build: Build | CallboardError
        try:
            build = self._link.host.contracts.resolve(*frame.contracts[contract])
        except CallboardError as error:
            build = error
        except Exception as error:  # noqa: BLE001 - a user's schema may raise anything
            build = InternalError(f"contract {frame.contracts[contract]}: {error!r}.")
        builders[contract] = build
        return build

    def _undecodable(self, envelope: Envelope, error: CallboardError) -> None:
        host = self._link.host
        if envelope.kind == Kind.ASK:
            self._link.fail(envelope.correlation, _surely_not_run(error))
        elif envelope.kind == Kind.REPLY:
            future = host.pending.get(envelope.correlation)
            if future is not None:
                future.fail(envelope.correlation, error)
        else:
            host.letters.dead("undecodable", f"{host.slot}/{envelope.target}", None, error)

    def _came_back(
        self,
        envelope: Envelope,
        frame: Frame,
        fetched: Sequence[Any],
        builders: list[Build | CallboardError | None],
    ) -> None:
        """An ask of this host's that has not run: it waits here for its actor to be back."""
        host = self._link.host
        future = host.pending.get(envelope.correlation)
        if future is None:
            return
        buffers: Sequence[Any] = envelope.buffers
        body, contract = envelope.body, envelope.contract
        try:
            if envelope.reference >= 0:
                body, buffers = _fetched(fetched, envelope.reference)
            build = self._builder(frame, contract, builders) if contract >= 0 else _no_contract()
            if isinstance(build, CallboardError):
                raise build
            message = host.codec.decode(body, build, buffers)
        except CallboardError as error:
            future.fail(envelope.correlation, _surely_not_run(error))
            return
        until_s = host.now() + envelope.budget_ms / 1000.0
        item = Waiting(Kind.ASK, envelope.target, future.correlation, message, until_s, future)
        self._link.outbox.take_back(item)

    def _control(self, envelope: Envelope) -> None:
        link = self._link
        if envelope.kind == Kind.ERROR:
            future = link.host.pending.get(envelope.correlation)
            if future is not None:
                future.fail(envelope.correlation, decode_error(envelope.body))
        elif envelope.kind == Kind.CANCEL:
            link.cancelled(envelope.correlation, decode_error(envelope.body))
        elif (lane := read_lane(envelope.body)) is None:
            LOGGER.warning("host %d names a lane that is none: %r", link.slot, envelope.body[:80])
        elif envelope.kind == Kind.PAUSE:
            link.outbox.pause(envelope.target, lane)
        elif envelope.kind == Kind.RESUME:
            link.outbox.resume(envelope.target, lane)


def _fetched(fetched: Sequence[Any], reference: int) -> tuple[bytes, Sequence[Any]]:
    if reference >= len(fetched):
        raise PayloadLost("a large value did not come with its message.", advice="Send it again.")
    value = fetched[reference]
    if isinstance(value, CallboardError):
        raise value
    if isinstance(value, BaseException):
        raise PayloadLost(f"a large value cannot be fetched: {value!r}.", advice="Send it again.")
    body, buffers = value
    return body, buffers


def _surely_not_run(error: CallboardError) -> CallboardError:
    error.details.setdefault("may_have_run", False)
    return error


def _no_contract() -> CallboardError:
    return UnknownContract("a message names no contract.", advice="Please report this.")
