"""The outbox of a link: messages in, sealed frames out.

A message is encoded once, into the open frame. A message that cannot be written now (no
credit, the peer is down, its actor's mailbox is full) waits unencoded in a bounded backlog,
in order.

A message waits only for what it needs itself: replies and control envelopes need no credit
and never wait behind requests, and requests for one full mailbox, or for one full key, do
not delay those for another. A large message leaves in parts, one in each frame, and delays
only the later messages for its own cell. Messages for the control actor have a reserve of credit
and a queue of their own: they wait for nothing but each other.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.core.codec import size_bytes
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    CallboardError,
    MailboxFull,
    PayloadLost,
    PayloadTooLarge,
)
from callboard.messages.core.frame import FrameWriter, Kind

from ..asks import Ask
from ..flow_key import FlowKey
from .core import LinkCore
from .failures import encode_error
from .flow_control import FlowControl
from .parts import Transfer, Transfers
from .ports import FrameSender, OutboxHost
from .queue import MessageQueue, OutgoingMessage

__all__ = ["Outbox"]


class Outbox:
    """The messages that one link has yet to send."""

    def __init__(
        self, host: OutboxHost, slot: int, core: LinkCore[Any], sender: FrameSender
    ) -> None:
        self._host = host
        self._slot = slot
        self._core = core
        self._sender = sender
        self._encode = host.codec.encode
        self._now = host.now
        limits = host.limits
        self._inline_bytes_max = limits.inline_bytes_max
        self._part_bytes = limits.part_bytes
        self._partial_bytes_max = limits.partial_bytes_max
        self._frame_bytes_soft = limits.frame_bytes_soft
        self._frame_messages = limits.frame_messages_soft
        self._backlog_max = limits.link_backlog_max
        self._sealed_max = limits.link_frames_in_flight
        self._writer = FrameWriter()
        self._sealed: deque[tuple[FrameWriter, int]] = deque()
        self._credit_used = 0
        """Envelopes in the open frame that need credit."""
        self._credit_sealed = 0
        self._backlog = MessageQueue()
        self._control = MessageQueue()
        """Messages for the control actor that have no credit; older than all that come later."""
        self._paused = FlowControl()
        self._transfers = Transfers(limits)
        self._behind = self._transfers.behind
        self.is_open = False
        """Whether requests may leave: the slot is connected and its actors run. To set it to
        False, call `hold_requests`."""
        self.closed_by: CallboardError | None = None
        """The error of a slot that has ended for good; no message waits for it any more."""

    @property
    def has_frames(self) -> bool:
        """Whether there is a frame to send now."""
        return bool(self._writer.count or self._sealed or self._transfers.has_parts)

    @property
    def waiting(self) -> int:
        """How many messages wait to be written."""
        return len(self._backlog) + len(self._control) + len(self._paused) + len(self._transfers)

    # --- requests ---------------------------------------------------------------------

    def post(self, item: OutgoingMessage) -> None:
        """Send a TELL or an ASK, or let it wait.

        A TELL that no sender waits for is refused with `MailboxFull` when the backlog is full.
        Raises `InvalidMessage` or `PayloadTooLarge` when the message cannot be encoded.
        """
        core = self._core
        if item.target == CONTROL_CELL and self._sender.is_connected:
            self._post_control(item)
        elif (
            self.is_open
            and not self._backlog
            and not self._paused.cells
            and not self._behind
            # `credit`, without the cost of a property: this runs for every message.
            and core.granted - core.sent > self._credit_used + self._credit_sealed
            and len(self._sealed) < self._sealed_max
        ):
            self._write(item)
        else:
            self._wait(item)

    def _post_control(self, item: OutgoingMessage) -> None:
        """Send a message of the control plane: it never waits behind data."""
        behind = self._behind.get(CONTROL_CELL)
        if behind is None and not self._control and self._may_write_control():
            self._write(item)
            return
        if item.is_limited and self._control.tells + self._transfers.tells >= self._backlog_max:
            raise self._full_error(self._control.tells + self._transfers.tells)
        if behind is None or self._control:
            self._control.put(item)
        else:
            self._transfers.put(behind, item)
        self._mark_control(item)

    @property
    def _credit_set_aside(self) -> int:
        return self._credit_used + self._credit_sealed + self._transfers.credit

    def _may_write(self) -> bool:
        return (
            self.is_open
            and self._core.credit > self._credit_set_aside
            and len(self._sealed) < self._sealed_max
        )

    def _may_write_control(self) -> bool:
        return self._sender.is_connected and self._core.control_credit > self._credit_set_aside

    def _full_error(self, tells: int) -> MailboxFull:
        return MailboxFull(
            f"{tells} messages wait for host {self._slot}.",
            advice="Use send or ask, which wait for room; or send less.",
            may_have_run=False,
        )

    def _wait(self, item: OutgoingMessage) -> None:
        if self.closed_by is not None:
            self._refuse(item, self.closed_by)
            return
        queue = self._queue_of(item)
        # While there is a backlog, older messages for the same actor may be in it.
        is_next = queue is not None and not self._backlog
        if item.is_limited:
            # Messages for full mailboxes count apart: they use up no room of others.
            tells = 0 if is_next else self._backlog.tells
            if queue is not None:
                tells = max(tells, self._paused.tells + self._transfers.tells)
            if tells >= self._backlog_max:
                raise self._full_error(tells)
        if queue is not None and is_next:
            self._put(queue, item)
            return
        self._backlog.put(item)
        self.write_waiting()

    def _queue_of(self, item: OutgoingMessage) -> MessageQueue | None:
        """The queue that a message has to wait in; None when it need not wait."""
        behind = self._behind.get(item.target)
        if behind is not None:
            return behind
        return self._paused.queue_of(item.target, item.message) if self._paused.cells else None

    def _put(self, queue: MessageQueue, item: OutgoingMessage) -> None:
        if self._behind.get(item.target) is queue:
            self._transfers.put(queue, item)
        else:
            self._paused.put(queue, item)

    def _write(self, item: OutgoingMessage) -> None:
        message, call = item.message, item.call
        writer = self._writer
        number = writer.number_of(type(message))  # It refuses what is no contract.
        body, buffers = self._encode(message)
        if call is None:
            kind, correlation, budget_ms, step, window, trace = Kind.TELL, 0, 0, "", 0, b""
        else:
            kind, correlation, step, trace = Kind.ASK, call.correlation, call.step, call.trace
            budget_ms = self._budget_ms(item.deadline_s)
            window = 0 if step else call.window  # That of a step is known.
        reference = -1
        if buffers or len(body) > self._inline_bytes_max:
            if self._is_sent_in_parts(body, buffers):
                self._begin(
                    Transfer(
                        kind,
                        item.target,
                        correlation,
                        message,
                        deadline_s=item.deadline_s,
                        step=step,
                        item=item,
                    ),
                    (body, *buffers),
                )
                self._mark_control(item)
                return
            body, buffers, reference = self._store_large(body, buffers)
        if step or window or trace or buffers or reference >= 0:
            writer.add(
                kind,
                item.target,
                correlation,
                number,
                body,
                budget_ms,
                buffers,
                reference,
                step=step,
                window=window,
                trace=trace,
            )
        else:
            writer.add(kind, item.target, correlation, number, body, budget_ms)
        self._mark_written(item)
        if writer.count >= self._frame_messages or writer.size_bytes >= self._frame_bytes_soft:
            self._seal_or_flush(writer)
        elif not self._sender.flush_is_scheduled:
            self._sender.flush_soon()

    @staticmethod
    def _mark_control(item: OutgoingMessage) -> None:
        """A message for the control actor belongs to this incarnation from now on."""
        if item.target == CONTROL_CELL and item.call is not None:
            item.call.sent = True

    def _mark_written(self, item: OutgoingMessage) -> None:
        self._credit_used += 1
        if item.call is not None:
            item.call.sent = True
        elif item.departure is not None and not item.departure.done():
            item.departure.set_result(None)

    def _budget_ms(self, deadline_s: float) -> int:
        # Rounded down, so that it shrinks from hop to hop; but 0 would mean no deadline.
        return max(1, int((deadline_s - self._now()) * 1000.0))

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
            if self._is_sent_in_parts(body, buffers):
                self._begin(Transfer(Kind.REPLY, 0, correlation, message), (body, *buffers))
                return
            body, buffers, reference = self._store_large(body, buffers)
            writer.add(Kind.REPLY, 0, correlation, number, body, 0, buffers, reference)
        else:
            writer.add(Kind.REPLY, 0, correlation, number, body)
        self._seal_or_flush(writer)

    def partial(self, correlation: int, message: Contract) -> None:
        """Write a partial result. It never travels apart, so that it keeps its place in order.

        Raises `PayloadTooLarge` above `Limits.partial_bytes_max`, and `InvalidMessage`.
        """
        body, buffers = self._encode(message)
        size = size_bytes(body, buffers)
        if size > self._partial_bytes_max:
            raise PayloadTooLarge(
                f"a partial result {type(message).contract_name} has {size} bytes; at most "
                f"{self._partial_bytes_max} are sent.",
                advice="Yield smaller ones more often; only the result may be large.",
                may_have_run=True,
            )
        writer = self._writer
        number = writer.number_of(type(message))
        writer.add(Kind.PARTIAL, 0, correlation, number, body, 0, buffers)
        self._seal_or_flush(writer)

    def bounce(self, ask: Ask) -> None:
        """Write an ask that bounces back to its sender; raises like `reply`."""
        body, buffers = self._encode(ask.message)
        if self._is_sent_in_parts(body, buffers):
            self._begin(
                Transfer(
                    Kind.BOUNCE,
                    ask.target,
                    ask.correlation,
                    ask.message,
                    deadline_s=ask.deadline_s,
                    step=ask.step,
                ),
                (body, *buffers),
            )
            return
        body, buffers, reference = self._store_large(body, buffers)
        writer = self._writer
        writer.add(
            Kind.BOUNCE,
            ask.target,
            ask.correlation,
            writer.number_of(type(ask.message)),
            body,
            self._budget_ms(ask.deadline_s),
            buffers,
            reference,
            step=ask.step,
        )
        self._seal_or_flush(writer)

    def control(
        self, kind: int, target: int, correlation: int = 0, body: bytes = b"", budget_ms: int = 0
    ) -> None:
        """Write an envelope without a contract and credit, if the link is connected."""
        if self._sender.is_connected:
            self._writer.add(kind, target, correlation, -1, body, budget_ms)
            self._seal_or_flush(self._writer)

    def tell_credit(self) -> None:
        """Tell the peer of credit that has come after the acknowledgement of its frame.

        A peer that has used up all of its credit sends nothing that would be answered with more.
        """
        if self._sender.is_connected:
            self._sender.owe_ack()

    def _seal_or_flush(self, writer: FrameWriter) -> None:
        if writer.count >= self._frame_messages or writer.size_bytes >= self._frame_bytes_soft:
            self._seal()
            # The peer handles this frame while the next one is written.
            self._sender.flush()
        else:
            self._sender.flush_soon()

    def _store_large(self, body: bytes, buffers: Any) -> tuple[bytes, Any, int]:
        if size_bytes(body, buffers) <= self._inline_bytes_max:
            return body, buffers, -1
        try:
            reference = self._host.large_values.put(body, buffers)
        except Exception as error:
            raise PayloadLost(
                f"a message of {size_bytes(body, buffers)} bytes could not be stored: {error!r}.",
                advice="See with `ray status` whether the object store is full.",
                may_have_run=False,
            ) from error
        return b"", (), self._writer.add_reference(reference)

    # --- large messages -----------------------------------------------------------------

    def _is_sent_in_parts(self, body: bytes, buffers: Any) -> bool:
        is_large = size_bytes(body, buffers) > self._inline_bytes_max
        return is_large and self._sender.sends_in_parts

    def _begin(self, transfer: Transfer, pieces: Sequence[Any]) -> None:
        self._transfers.add(transfer, pieces)
        self._sender.flush_soon()

    def _add_parts(self) -> None:
        """Fill the open frame with parts of large messages, and the envelopes at their ends."""
        transfers, writer = self._transfers, self._writer
        part_bytes_min = 1 + self._part_bytes // 16
        # Each frame takes a part, so that small messages in full frames do not hold it up.
        room = max(self._part_bytes - writer.size_bytes, part_bytes_min)
        while room >= part_bytes_min and transfers.has_parts:
            transfer = transfers.next()
            if transfer.is_abandoned:
                writer.add_part(transfer.number, 0, b"")
                transfers.end(transfer)
                self._begin_waiting()
                continue
            part = transfer.next_part(room)
            if part is not None:
                writer.add_part(transfer.number, transfer.total_bytes, part)
            if transfer.is_sent:
                self._end(transfer)
            room = self._part_bytes - writer.size_bytes

    def _end(self, transfer: Transfer) -> None:
        """Write the envelope after the last part."""
        writer = self._writer
        writer.add(
            transfer.kind,
            transfer.target,
            transfer.correlation,
            writer.number_of(type(transfer.message)),
            transfer.layout(),
            self._budget_ms(transfer.deadline_s) if transfer.deadline_s else 0,
            step=transfer.step,
            value=transfer.number,
            window=transfer.window,
            trace=transfer.trace,
        )
        if transfer.item is not None:
            self._mark_written(transfer.item)
        self._transfers.end(transfer)
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        transfers = self._transfers
        while (transfer := transfers.next_waiting()) is not None:
            if transfer.is_abandoned:
                transfers.end(transfer)
                continue
            try:
                body, buffers = self._encode(transfer.message)
            except CallboardError as error:
                transfers.end(transfer)
                if transfer.item is not None:
                    self._refuse(transfer.item, error)
                else:
                    self._writer.add(Kind.ERROR, 0, transfer.correlation, -1, encode_error(error))
                continue
            transfers.begin(transfer, (body, *buffers))

    def write_behind(self) -> None:
        """Write the messages that waited behind large ones, or for credit of the control plane."""
        transfers = self._transfers
        while self._control and CONTROL_CELL not in self._behind and self._may_write_control():
            item = self._control.take()
            if not item.is_abandoned:
                self._write_or_refuse(item)
        for target in list(transfers.idle):
            while target in transfers.idle and (
                self._may_write_control() if target == CONTROL_CELL else self._may_write()
            ):
                waiting = transfers.take(target)
                if waiting is None:
                    break
                item = waiting
                queue = self._paused.queue_of(target, item.message) if self._paused.cells else None
                if queue is not None:
                    self._paused.put(queue, item)
                elif not item.is_abandoned:
                    self._write_or_refuse(item)

    # --- frames -------------------------------------------------------------------------

    def _seal(self) -> None:
        if self._transfers.has_parts:
            self._add_parts()
        self._sealed.append((self._writer, self._credit_used))
        self._credit_sealed += self._credit_used
        self._writer = FrameWriter()
        self._credit_used = 0

    def next_frame(self) -> tuple[FrameWriter, int]:
        """The next frame to send, and the credit that it uses."""
        if not self._sealed:
            self._seal()
        writer, credit_used = self._sealed.popleft()
        self._credit_sealed -= credit_used
        return writer, credit_used

    # --- waiting messages ---------------------------------------------------------------------

    def write_waiting(self) -> None:
        """Write waiting messages, as far as credit and room allow."""
        self.write_behind()
        backlog = self._backlog
        while backlog and self._may_write():
            item = backlog.take()
            queue = self._queue_of(item)
            if queue is not None:
                self._put(queue, item)
            elif not item.is_abandoned:  # Otherwise its sender no longer waits: it never leaves.
                self._write_or_refuse(item)

    def _write_or_refuse(self, item: OutgoingMessage) -> None:
        try:
            self._write(item)
        except CallboardError as error:
            self._refuse(item, error)

    def _refuse(self, item: OutgoingMessage, error: CallboardError) -> None:
        if item.call is not None:
            item.call.fail(item.call.correlation, error)
        elif item.departure is None:
            self._host.dead_letters.dead(
                "not_sent", f"{self._slot}/{item.target}", item.message, error
            )
        elif not item.departure.done():
            item.departure.set_exception(error)

    def pause(self, target: int, flow_key: FlowKey) -> None:
        """The peer has no room for the messages of a flow key."""
        if target != CONTROL_CELL:  # Its credit bounds them.
            self._paused.pause(target, flow_key)

    def resume(self, target: int, flow_key: FlowKey) -> None:
        """The peer has room for them again."""
        queue = self._paused.resume(target, flow_key)
        if queue and target in self._behind:
            self._transfers.put_first(target, queue)
        elif queue:
            self._backlog.put_first(queue)
        self.write_waiting()

    def put_bounced(self, item: OutgoingMessage) -> None:
        """An ask has bounced: it and all later messages for its cell wait for a restart."""
        assert item.call is not None
        item.call.sent = False
        self._paused.put_bounced(item)

    def hold_requests(self) -> None:
        """Send only replies and messages of the control plane."""
        self.is_open = False
        numbers, queues = self._transfers.hold_requests()
        for number in numbers:
            self._writer.add_part(number, 0, b"")
        for queue in queues:
            self._backlog.put_first(queue)
        self._begin_waiting()
        if self.has_frames:
            self._sender.flush_soon()

    def reset(self, core: LinkCore[Any]) -> None:
        """The peer is lost, with all written messages; waiting messages wait on."""
        self._core = core
        self.closed_by = None
        self._writer = FrameWriter()
        self._sealed.clear()
        self._credit_used = 0
        self._credit_sealed = 0
        self.is_open = False
        queues, lost = self._transfers.clear()
        for queue in queues:
            self._backlog.put_first(queue)
        lost += self._control
        self._control = MessageQueue()
        for item in lost:
            if item.departure is not None and not item.departure.done():
                item.departure.set_result(None)
        # Messages that waited for a full mailbox now wait for the next incarnation.
        for queue in self._paused.clear():
            # Before the later messages for the same actors.
            self._backlog.put_first(queue)

    @property
    def credit_is_whole(self) -> bool:
        """Whether the credit of the written messages is that of the frames that hold them."""
        return self._credit_sealed == sum(used for _, used in self._sealed) and (
            self._credit_used <= self._writer.count
        )

    def close(self, error: CallboardError) -> None:
        """Refuse all waiting messages; called after a `reset`."""
        self.closed_by = error
        waiting, self._backlog = self._backlog, MessageQueue()
        for item in waiting:
            self._refuse(item, error)
