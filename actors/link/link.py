"""A link, the shell: messages in, frames out, over whatever carries frames.

A message is encoded once, into the frame that is open. A frame leaves as soon as fewer
than `link_frames_in_flight` are under way; what comes meanwhile fills the next one. So
a lone message leaves at once, and under load frames grow by themselves.

What cannot be written now (no credit, the peer is down, its actor's mailbox is full)
waits unencoded in a bounded backlog, in order.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..asks import Ask
from ..cell import Cell
from callboard.messages.codec import size_bytes
from callboard.messages.contract import Contract, describe_contract
from callboard.messages.control import CONTROL_CELL
from callboard.messages.errors import CallboardError, HostLost, MailboxFull
from callboard.messages.frame import Frame, FrameHeader, FrameWriter, Kind
from callboard.messages.ports import FrameCarrier, TransportBroken

from .core import LinkCore
from .edge import Edge

if TYPE_CHECKING:
    from ..host.host import Host

__all__ = ["Link"]

LOGGER: Final = logging.getLogger("callboard.link")
RETRY_MIN_S: Final = 0.05
RETRY_MAX_S: Final = 2.0
ACK_DELAY_S: Final = 0.25
"""How long an acknowledgement waits for a frame to ride on."""
RESEND_AFTER_S: Final = 2.0
"""When a frame without acknowledgement is sent again: well over `ACK_DELAY_S` and a busy loop."""


class Waiting(NamedTuple):
    """A message that cannot be written yet."""

    kind: int
    target: int
    correlation: int
    message: Contract
    deadline_s: float
    future: "asyncio.Future[Any] | None"


class SentFrame(NamedTuple):
    """A frame as it left: what is sent again if need be."""

    data: bytes
    references: Sequence[Any]
    sent_s: float


class Link:
    """The path from this host to one slot. Also the `ReplySink` of asks that came from there."""

    def __init__(self, host: "Host", slot: int) -> None:
        self.host: Final = host
        self.slot: Final = slot
        self.epoch = 0
        """Which incarnation of the slot this link talks to; 0 before the first."""
        self.carrier: FrameCarrier | None = None
        self._is_open = False
        self.core: LinkCore[Any] = LinkCore(host.limits)
        self.asks: dict[int, Ask] = {}
        """Asks that came from there and have no outcome yet."""
        self._edge = Edge(self)
        self._held: dict[int, int] = {}
        self._writer = FrameWriter()
        self._sealed: deque[tuple[FrameWriter, int]] = deque()
        self._credit_used = 0
        self._backlog: deque[Waiting] = deque()
        self._paused: dict[int, deque[Waiting]] = {}
        self._tells_waiting = 0
        self._in_flight = 0
        self._corked = 0
        self._flush_scheduled = False
        self._ack_owed = False
        self._ack_timer: asyncio.TimerHandle | None = None

    # --- connection ----------------------------------------------------------------

    def connect(self, epoch: int, carrier: FrameCarrier, *, is_open: bool = True) -> None:
        """Talk to this incarnation of the slot from now on.

        Until it is opened, only the control plane gets through: the slot's actors are
        started first, and what waits for them goes on waiting.
        """
        if epoch <= self.epoch:
            return
        self._reset()
        self.epoch = epoch
        self.carrier = carrier
        self._is_open = is_open
        self._drain_backlog()
        self._schedule_flush()

    def open(self) -> None:
        """Let everything through that has waited."""
        self._is_open = True
        self._drain_backlog()

    def lost(self, epoch: int, error: CallboardError) -> None:
        """That incarnation is gone: what was under way is lost, what waits goes on waiting."""
        if epoch != self.epoch or self.carrier is None:
            return
        self._reset()
        self.host.asks_lost(self.slot, error)

    def close(self, error: CallboardError) -> None:
        """The slot is gone for good: nothing waits any longer."""
        self._reset()
        self.host.asks_lost(self.slot, error)
        waiting = [*self._backlog, *(item for row in self._paused.values() for item in row)]
        self._backlog.clear()
        self._paused.clear()
        self._tells_waiting = 0
        for item in waiting:
            self._refuse(item, error)

    def _reset(self) -> None:
        self.carrier = None
        self.core = LinkCore(self.host.limits)
        self._edge = Edge(self)
        self._held.clear()
        self._writer = FrameWriter()
        self._sealed.clear()
        self._credit_used = 0
        self._in_flight = 0
        self._ack_owed = False
        # What waited for a mailbox of the old incarnation waits for the new one's.
        asks, self.asks = self.asks, {}
        gone = HostLost(f"host {self.slot} that asked is gone.", advice="Nobody waits for this.")
        for ask in asks.values():
            ask.stop(gone)
        paused, self._paused = self._paused, {}
        for row in paused.values():
            self._backlog.extend(row)

    # --- sending --------------------------------------------------------------------

    def post(  # noqa: PLR0913 - the parts of a message, unpacked for speed
        self,
        kind: int,
        target: int,
        correlation: int,
        message: Contract,
        deadline_s: float,
        future: "asyncio.Future[Any] | None",
    ) -> None:
        """Send a TELL or an ASK, or let it wait.

        A tell without a future is refused with `MailboxFull` when the backlog is full.
        Raises `InvalidMessage` or `PayloadTooLarge` when it cannot be encoded.
        """
        if target == CONTROL_CELL and self.carrier is not None:
            # The control plane never waits behind data.
            self._write(kind, target, correlation, message, deadline_s, future)
        elif self._backlog or self._paused or not self._may_write():
            self._wait(Waiting(kind, target, correlation, message, deadline_s, future))
        else:
            self._write(kind, target, correlation, message, deadline_s, future)

    def _wait(self, item: Waiting) -> None:
        if item.future is None:
            if self._tells_waiting >= self.host.limits.link_backlog_max:
                raise MailboxFull(
                    f"{self._tells_waiting} messages wait for host {self.slot}.",
                    advice="Use send or ask, which wait for room.",
                    may_have_run=False,
                )
            self._tells_waiting += 1
        row = self._paused.get(item.target)
        if row is not None:
            row.append(item)
            return
        self._backlog.append(item)
        if self._may_write():
            self._drain_backlog()

    def _may_write(self) -> bool:
        return (
            self.carrier is not None
            and self._is_open
            and not self._sealed
            and self.core.credit > self._credit_used
            and self._writer.size_bytes < self.host.limits.frame_bytes_soft
        )

    def _write(  # noqa: PLR0913 - as `post`
        self,
        kind: int,
        target: int,
        correlation: int,
        message: Contract,
        deadline_s: float,
        future: "asyncio.Future[Any] | None",
    ) -> None:
        body, buffers = self.host.codec.encode(message)
        writer = self._writer
        reference = -1
        if len(body) > self.host.inline_bytes_max or buffers:
            body, buffers, reference = self._large(body, buffers)
        budget_ms = 0
        if deadline_s:
            budget_ms = int((deadline_s - self.host.now()) * 1000.0) or 1
        writer.add(
            kind,
            target,
            correlation,
            writer.contract(describe_contract(type(message)).key),
            body,
            max(budget_ms, 0),
            buffers,
            reference,
        )
        self._credit_used += 1
        if future is not None:
            if kind == Kind.ASK:
                future.sent = True  # type: ignore[attr-defined]
            elif not future.done():
                future.set_result(None)
        if writer.count >= self.host.limits.frame_messages_max:
            self._seal()
        if not self._flush_scheduled:
            self._schedule_flush()

    def reply(self, correlation: int, message: Contract | None) -> None:
        """Send the reply of an ask that came over this link."""
        if self.asks.pop(correlation, None) is None or self.carrier is None:
            return
        writer = self._writer
        if message is None:
            writer.add(Kind.REPLY, 0, correlation, -1, b"")
        else:
            try:
                body, buffers = self.host.codec.encode(message)
            except CallboardError as error:
                self.fail(correlation, error)
                return
            reference = -1
            if len(body) > self.host.inline_bytes_max or buffers:
                body, buffers, reference = self._large(body, buffers)
            number = writer.contract(describe_contract(type(message)).key)
            writer.add(Kind.REPLY, 0, correlation, number, body, 0, buffers, reference)
        self._written()

    def fail(self, correlation: int, error: CallboardError) -> None:
        """Send the failure of an ask that came over this link."""
        self.asks.pop(correlation, None)
        self.control(Kind.ERROR, 0, correlation, self.host.encode_error(error))

    def control(self, kind: int, target: int = 0, correlation: int = 0, body: bytes = b"") -> None:
        """Send an envelope that needs no credit."""
        if self.carrier is None:
            return
        self._writer.add(kind, target, correlation, -1, body)
        self._written()

    def _written(self) -> None:
        writer = self._writer
        limits = self.host.limits
        if writer.size_bytes >= limits.frame_bytes_soft or writer.count >= limits.frame_messages_max:
            self._seal()
        if not self._flush_scheduled:
            self._schedule_flush()

    def _large(self, body: bytes, buffers: Any) -> tuple[bytes, Any, int]:
        if size_bytes(body, buffers) <= self.host.inline_bytes_max:
            return body, buffers, -1
        reference = self.host.blobs.put(body, buffers)
        return b"", (), self._writer.add_reference(reference)

    def _seal(self) -> None:
        self._sealed.append((self._writer, self._credit_used))
        self._writer = FrameWriter()
        self._credit_used = 0

    def _drain_backlog(self) -> None:
        backlog = self._backlog
        while backlog and self._may_write():
            item = backlog.popleft()
            row = self._paused.get(item.target)
            if row is not None:
                row.append(item)
                continue
            if item.future is None:
                self._tells_waiting -= 1
            elif item.future.done():
                continue  # Its deadline passed, or its asker gave up: it never leaves.
            try:
                self._write(*item)
            except CallboardError as error:
                self._refuse(item, error)

    def _refuse(self, item: Waiting, error: CallboardError) -> None:
        if item.future is None:
            self.host.letters.dead("not_sent", f"{self.slot}/{item.target}", item.message, error)
        elif not item.future.done():
            if item.kind == Kind.ASK:
                item.future.fail(item.correlation, error)  # type: ignore[attr-defined]
            else:
                item.future.set_exception(error)

    def pause(self, target: int) -> None:
        """The peer says that this actor's mailbox is full."""
        self._paused.setdefault(target, deque())

    def resume(self, target: int) -> None:
        """The peer says that there is room again."""
        row = self._paused.pop(target, None)
        if row:
            self._backlog.extendleft(reversed(row))
        self._drain_backlog()

    # --- frames out --------------------------------------------------------------------

    def cork(self) -> None:
        """Hold frames back: a call of the peer's is about to return and takes one along."""
        self._corked += 1

    def uncork(self) -> None:
        """Let frames leave again."""
        self._corked -= 1
        if not self._corked and (self._writer.count or self._sealed or self._ack_owed):
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.host.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        window = self.host.limits.link_frames_in_flight
        while (
            self._in_flight < window
            and not self._corked
            and self.carrier is not None
            and (self._writer.count or self._sealed)
        ):
            frame, number = self._next_frame()
            self._in_flight += 1
            self.host.run_task(self._carry(frame, number, self.epoch))
            if self._backlog:
                self._drain_backlog()

    def _next_frame(self) -> tuple[SentFrame, int]:
        if self._sealed:
            writer, credit_used = self._sealed.popleft()
        else:
            writer, credit_used = self._writer, self._credit_used
            self._writer = FrameWriter()
            self._credit_used = 0
        self.core.sent += credit_used
        references = writer.references
        number = self.core.sequence + 1
        data = writer.finish(self._header(number))
        frame = SentFrame(data, references, self.host.now())
        self.core.number(frame)
        self._ack_owed = False
        return frame, number

    def _header(self, number: int) -> FrameHeader:
        core = self.core
        return FrameHeader(
            self.host.slot,
            self.host.epoch,
            self.slot,
            self.epoch,
            number,
            core.received,
            core.grant(),
        )

    def bookkeeping(self) -> bytes:
        """A frame without messages: what arrived here, and what may come."""
        self._ack_owed = False
        return FrameWriter().finish(self._header(0))

    def take_frame(self) -> tuple[bytes, Sequence[Any]]:
        """The frame that a returning call takes along; bookkeeping when there is none."""
        if (self._writer.count or self._sealed) and self.carrier is not None:
            frame, _ = self._next_frame()
            if self._backlog:
                self._drain_backlog()
            return frame.data, frame.references
        return self.bookkeeping(), ()

    async def _carry(self, frame: SentFrame, number: int, epoch: int) -> None:
        delay_s = RETRY_MIN_S
        while epoch == self.epoch and self.carrier is not None:
            try:
                answer, references = await self.carrier.deliver(frame.data, frame.references)
            except HostLost as error:
                self.lost(epoch, error)
                return
            except TransportBroken as error:
                LOGGER.warning("frame %d to host %d is sent again: %s", number, self.slot, error)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2.0, RETRY_MAX_S)
                continue
            break
        else:
            return
        self._in_flight -= 1
        if answer:
            self.host.receive(answer, references)
        if self._writer.count or self._sealed or self._backlog:
            self._flush()

    # --- frames in -------------------------------------------------------------------------

    def receive(self, frame: Frame, references: Sequence[Any]) -> None:
        """Take a frame of this link's incarnation; raises `FrameError`."""
        header = frame.header
        core = self.core
        core.heard(header)
        if header.sequence:
            before = core.duplicates
            for ready, beside in core.arrived(header.sequence, (frame, references)):
                self._edge.accept(ready, beside)
            self._owe_ack()
            if core.duplicates != before:
                self._resend()
        if self._backlog:
            self._drain_backlog()

    def admitted(self, count: int) -> None:
        """That many envelopes are in their mailboxes: their credit goes back."""
        self.core.admitted += count

    def is_current(self, edge: Edge) -> bool:
        """Whether `edge` still belongs to the incarnation this link talks to."""
        return edge is self._edge

    def hold(self, cell: Cell) -> None:
        """Keep back the credit of a message that its mailbox has no room for yet."""
        held = self._held
        if cell.id in held:
            held[cell.id] += 1
            return
        held[cell.id] = 1
        edge = self._edge
        cell.when_room(lambda: self._release(cell.id, edge))
        self.control(Kind.PAUSE, cell.id)

    def _release(self, number: int, edge: Edge) -> None:
        if edge is self._edge:
            self.core.admitted += self._held.pop(number, 0)
            self.control(Kind.RESUME, number)

    def cancelled(self, correlation: int, error: CallboardError) -> None:
        """The asker over there gave up."""
        ask = self.asks.get(correlation)
        if ask is not None:
            ask.stop(error)

    def _owe_ack(self) -> None:
        self._ack_owed = True
        if self._ack_timer is None:
            self._ack_timer = self.host.loop.call_later(ACK_DELAY_S, self._ack_due)

    def _ack_due(self) -> None:
        self._ack_timer = None
        oldest = next(iter(self.core.unacknowledged.values()), None)
        if oldest is not None:
            if self.host.now() - oldest.sent_s > RESEND_AFTER_S and not self._in_flight:
                self._resend()
            self._ack_timer = self.host.loop.call_later(RESEND_AFTER_S, self._ack_due)
        if self._ack_owed and self.carrier is not None:
            self.host.run_task(self._carry_ack(self.epoch))

    async def _carry_ack(self, epoch: int) -> None:
        carrier = self.carrier
        if carrier is None:
            return
        try:
            answer, references = await carrier.deliver(self.bookkeeping(), ())
        except HostLost as error:
            self.lost(epoch, error)
        except TransportBroken:
            self._owe_ack()
        else:
            if epoch == self.epoch and answer:
                self.host.receive(answer, references)

    def _resend(self) -> None:
        """Send again what may have been lost; the peer drops what it has."""
        for number, frame in list(self.core.unacknowledged.items()):
            if self._in_flight >= self.host.limits.link_frames_in_flight:
                return
            self._in_flight += 1
            renewed = frame._replace(sent_s=self.host.now())
            self.core.unacknowledged[number] = renewed
            self.host.run_task(self._carry(renewed, number, self.epoch))

    def backlog_size(self) -> int:
        """Messages that wait to be written."""
        return len(self._backlog) + sum(len(row) for row in self._paused.values())
