"""The outbox of a link: messages in, sealed frames out.

A message is encoded once, into the frame that is open. What cannot be written now (no
credit, the peer is down, its actor's mailbox is full) waits unencoded in a bounded
backlog, in order.

A message waits for nothing that it does not need: replies and control envelopes need no
credit and never wait behind requests, and requests for one full mailbox, or for one full
key of many, do not hold up those for another.
"""

from collections import deque
from typing import Any

from callboard.messages.codec import size_bytes
from callboard.messages.contract import Contract
from callboard.messages.control import CONTROL_CELL
from callboard.messages.errors import CallboardError, MailboxFull, PayloadLost
from callboard.messages.frame import FrameWriter, Kind

from ..flow_key import Lane
from .pauses import Pauses
from .rows import Row, Waiting

__all__ = ["Outbox"]


class Outbox:
    """What one link still has to send."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self._host = link.host
        self._encode = link.host.codec.encode
        self._now = link.host.now
        limits = link.host.limits
        self._inline_bytes_max = limits.inline_bytes_max
        self._frame_bytes_soft = limits.frame_bytes_soft
        self._frame_messages = limits.frame_messages_soft
        self._backlog_max = limits.link_backlog_max
        self._writer = FrameWriter()
        self._sealed: deque[tuple[FrameWriter, int]] = deque()
        self._credit_used = 0
        """Envelopes in the open frame that need credit."""
        self._credit_sealed = 0
        self._backlog = Row()
        self._paused = Pauses()
        self.is_open = False
        """Whether requests may leave: the slot is connected and its actors are there."""
        self.closed_by: CallboardError | None = None
        """Why the slot is gone for good; nothing waits for it any more."""

    @property
    def has_frames(self) -> bool:
        """Whether there is something to send now."""
        return bool(self._writer.count or self._sealed)

    @property
    def waiting(self) -> int:
        """Messages that wait to be written."""
        return len(self._backlog) + len(self._paused)

    # --- requests ---------------------------------------------------------------------

    def post(
        self,
        kind: int,
        target: int,
        correlation: int,
        message: Contract,
        deadline_s: float,
        future: Any,
    ) -> None:
        """Send a TELL or an ASK, or let it wait; see `Link.post`."""
        if (
            self.is_open
            and not self._backlog
            and not self._paused
            and self._link.core.credit > self._credit_used + self._credit_sealed
            and len(self._sealed) < self._link.frames_sealed_max
        ) or (target == CONTROL_CELL and self._link.is_connected):
            # The control plane never waits behind data.
            self._write(kind, target, correlation, message, deadline_s, future)
        else:
            self._wait(Waiting(kind, target, correlation, message, deadline_s, future))

    def _may_write(self) -> bool:
        return (
            self.is_open
            and self._link.core.credit > self._credit_used + self._credit_sealed
            and len(self._sealed) < self._link.frames_sealed_max
        )

    def _wait(self, item: Waiting) -> None:
        if self.closed_by is not None:
            self._refuse(item, self.closed_by)
            return
        if item.future is not None and not self.is_open and not self._paused:
            self._backlog.put(item)  # Nearly all that waits: for a host that is not there yet.
            return
        row = self._paused.row_of(item.target, item.message)
        # While there is a backlog, older messages for the same actor may be in it.
        is_next = row is not None and not self._backlog
        if item.future is None:
            # What waits for full mailboxes is counted apart: it refuses nothing to others.
            tells = 0 if is_next else self._backlog.tells
            if row is not None:
                tells = max(tells, self._paused.tells)
            if tells >= self._backlog_max:
                raise MailboxFull(
                    f"{tells} messages wait for host {self._link.slot}.",
                    advice="Use send or ask, which wait for room.",
                    may_have_run=False,
                )
        if row is not None and is_next:
            self._paused.put(row, item)
            return
        self._backlog.put(item)
        self.drain()

    def _write(
        self,
        kind: int,
        target: int,
        correlation: int,
        message: Contract,
        deadline_s: float,
        future: Any,
    ) -> None:
        body, buffers = self._encode(message)
        writer = self._writer
        budget_ms = 0
        if deadline_s:
            # Rounded down, so that it shrinks from hop to hop; but 0 would say "none".
            budget_ms = int((deadline_s - self._now()) * 1000.0) or 1
        number = writer.number_of(type(message))
        step = "" if future is None or kind != Kind.ASK else future.step
        if step or buffers or len(body) > self._inline_bytes_max:
            body, buffers, reference = self._large(body, buffers)
            writer.add(
                kind, target, correlation, number, body, budget_ms, buffers, reference, step=step
            )
        else:
            writer.add(kind, target, correlation, number, body, budget_ms)
        self._credit_used += 1
        if future is not None:
            if kind == Kind.ASK:
                future.sent = True
            elif not future.done():
                future.set_result(None)
        if writer.count >= self._frame_messages or writer.size_bytes >= self._frame_bytes_soft:
            self._written(writer)
        elif not self._link.flush_is_scheduled:
            self._link.flush_soon()

    # --- replies and control ------------------------------------------------------------

    def reply(self, correlation: int, message: Contract | None) -> None:
        """Write a reply; raises `InvalidMessage` or `PayloadTooLarge` when it cannot travel."""
        if message is None:
            self.control(Kind.REPLY, 0, correlation, b"")
            return
        body, buffers = self._encode(message)
        writer = self._writer
        number = writer.number_of(type(message))
        if buffers or len(body) > self._inline_bytes_max:
            body, buffers, reference = self._large(body, buffers)
            writer.add(Kind.REPLY, 0, correlation, number, body, 0, buffers, reference)
        else:
            writer.add(Kind.REPLY, 0, correlation, number, body)
        self._written(writer)

    def give_back(
        self, target: int, correlation: int, message: Contract, budget_ms: int, *, step: str
    ) -> None:
        """Write an ask that goes back to its sender; raises like `reply`."""
        body, buffers, reference = self._large(*self._encode(message))
        writer = self._writer
        number = writer.number_of(type(message))
        writer.add(
            Kind.RETURN, target, correlation, number, body, budget_ms, buffers, reference, step=step
        )
        self._written(writer)

    def control(self, kind: int, target: int, correlation: int, body: bytes) -> None:
        """Write an envelope without a contract."""
        self._writer.add(kind, target, correlation, -1, body)
        self._written(self._writer)

    def _written(self, writer: FrameWriter) -> None:
        if writer.count >= self._frame_messages or writer.size_bytes >= self._frame_bytes_soft:
            self._seal()
            # The peer works on this frame while the next one is written.
            self._link.flush()
        else:
            self._link.flush_soon()

    def _large(self, body: bytes, buffers: Any) -> tuple[bytes, Any, int]:
        if size_bytes(body, buffers) <= self._inline_bytes_max:
            return body, buffers, -1
        try:
            reference = self._host.blobs.put(body, buffers)
        except Exception as error:
            raise PayloadLost(
                f"a message of {size_bytes(body, buffers)} bytes could not be stored: {error!r}.",
                advice="Is the object store full? `ray status` tells.",
                may_have_run=False,
            ) from error
        return b"", (), self._writer.add_reference(reference)

    def _seal(self) -> None:
        self._sealed.append((self._writer, self._credit_used))
        self._credit_sealed += self._credit_used
        self._writer = FrameWriter()
        self._credit_used = 0

    # --- frames -------------------------------------------------------------------------

    def next_frame(self) -> tuple[FrameWriter, int]:
        """The next frame to send, and how much credit it takes."""
        if not self._sealed:
            self._seal()
        writer, credit_used = self._sealed.popleft()
        self._credit_sealed -= credit_used
        return writer, credit_used

    # --- what waits -----------------------------------------------------------------------

    def drain(self) -> None:
        """Write what has waited, as far as that goes."""
        backlog, paused = self._backlog, self._paused
        while backlog and self._may_write():
            item = backlog.take()
            row = paused.row_of(item.target, item.message) if paused.cells else None
            if row is not None:
                paused.put(row, item)
                continue
            if item.future is not None and item.future.done():
                continue  # Its deadline passed, or its asker gave up: it never leaves.
            try:
                self._write(*item)
            except CallboardError as error:
                self._refuse(item, error)

    def _refuse(self, item: Waiting, error: CallboardError) -> None:
        if item.future is None:
            where = f"{self._link.slot}/{item.target}"
            self._host.letters.dead("not_sent", where, item.message, error)
        elif not item.future.done():
            if item.kind == Kind.ASK:
                item.future.fail(item.correlation, error)
            else:
                item.future.set_exception(error)

    def pause(self, target: int, lane: Lane) -> None:
        """The peer says that there is no room for these."""
        self._paused.pause(target, lane)

    def resume(self, target: int, lane: Lane) -> None:
        """The peer says that there is room again."""
        row = self._paused.resume(target, lane)
        if row:
            self._backlog.put_first(row)
        self.drain()

    def take_back(self, item: Waiting) -> None:
        """An ask has come back: it, and what follows for its actor, waits for the next one."""
        item.future.sent = False
        self._paused.take_back(item)

    def reset(self) -> None:
        """The peer is gone: what was written is lost, what waits goes on waiting."""
        self.closed_by = None
        self._writer = FrameWriter()
        self._sealed.clear()
        self._credit_used = 0
        self._credit_sealed = 0
        self.is_open = False
        # What waited for a mailbox of the old incarnation waits for the new one's.
        for row in self._paused.clear():
            # Before what came later for the same actors.
            self._backlog.put_first(row)

    def close(self, error: CallboardError) -> None:
        """Nothing waits any longer."""
        self.reset()
        self.closed_by = error
        waiting, self._backlog = self._backlog, Row()
        for item in waiting:
            self._refuse(item, error)
