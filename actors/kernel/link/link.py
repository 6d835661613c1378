"""A link, the shell: frames out and in, over whatever carries frames.

A frame leaves as soon as fewer than `link_frames_in_flight` are under way; messages that
come meanwhile fill the next one. So a single message leaves at once, and under load frames
grow by themselves. The outbox fills the frames, the receiver delivers those that arrive, and
the core decides numbers, order and credit.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError, HostLost
from callboard.messages.core.frame import Frame, FrameHeader, FrameWriter
from callboard.messages.ports import BreakableCarrier, FrameCarrier, TransportBroken

from .core import LinkCore
from .outbox import Outbox
from .ports import LinkHost
from .receiver import FrameReceiver

__all__ = ["Link"]

LOGGER: Final = logging.getLogger("callboard.link")
RETRY: Final = Backoff(min_s=0.05, max_s=2.0)
ACK_DELAY_S: Final = 0.25
"""How long an acknowledgement waits for a frame to ride on."""
ACK_BYTES: Final = 1 << 20
"""The bytes of frames after which an acknowledgement leaves at once: the peer keeps them."""
RESEND_AFTER_S: Final = 2.0
"""A frame without acknowledgement is sent again after so long: well above `ACK_DELAY_S`."""


class SentFrame(NamedTuple):
    """A frame as it was sent, kept to be sent again."""

    data: bytes
    references: Sequence[Any]
    sent_s: float


class Link:
    """The link from this host to one slot."""

    def __init__(self, host: LinkHost, slot: int) -> None:
        self.host: Final = host
        self.slot: Final = slot
        self.epoch = 0
        """The incarnation of the slot that this link is connected to; 0 before the first."""
        self.dead_epoch = 0
        """The newest incarnation that is known to be dead: the link never connects to it again."""
        self.is_closed = False
        """Whether the slot has ended for good."""
        self.carrier: FrameCarrier | None = None
        self.core: LinkCore[Any] = LinkCore(host.limits)
        self.flush_is_scheduled = False
        self._is_flushing = False
        self.outbox: Final = Outbox(host, slot, self.core, self)
        self.receiver = FrameReceiver(host, slot, self.core, self.outbox)
        self._window: Final = host.limits.link_frames_in_flight
        self._in_flight = 0
        self._in_flight_again = 0
        """Those of them that have been sent before."""
        self._resent = 0
        """The newest frame that has been sent again, of those up to `_resend_to`."""
        self._resend_to = 0
        self._corked = 0
        self._granted = host.limits.link_credit
        """The last grant that was sent to the peer."""
        self._grant_step: Final = min(host.limits.link_credit // 4, host.limits.link_control_credit)
        """The credit after which a grant leaves at once: the peer may have used up its reserve."""
        self._ack_owed = False
        self._bytes_not_acknowledged = 0
        self._ack_timer: asyncio.TimerHandle | None = None
        self.frames_out = 0
        """Frames and bytes since the start of this host, over all incarnations of the peer."""
        self.bytes_out = 0
        self.frames_in = 0
        self.bytes_in = 0
        self.frames_resent = 0

    # --- connection ----------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether the link has a carrier to a process of the slot."""
        return self.carrier is not None

    @property
    def sends_in_parts(self) -> bool:
        """Whether large messages leave in parts, not by reference."""
        return self.carrier is not None and self.carrier.is_stream

    def connect(self, epoch: int, carrier: FrameCarrier, *, is_open: bool = True) -> None:
        """Connect to this incarnation of the slot.

        Until the link is opened, only messages of the control plane leave: the slot's actors
        are started first, and the messages for them wait.
        """
        if epoch <= self.epoch:
            if epoch == self.epoch and is_open:
                self.open()
            return
        if epoch <= self.dead_epoch:
            return
        if self.is_connected:
            replaced = HostLost(
                f"host {self.slot} has a new incarnation.", advice="", slot=self.slot
            )
            self.mark_lost(self.epoch, replaced)
        self._reset()
        self.is_closed = False
        self.epoch = epoch
        self._use(carrier)
        if is_open:
            self.open()
        self.host.link_connected()

    def begin(self, epoch: int, carrier: FrameCarrier, *, is_open: bool) -> None:
        """Connect a link that was made this moment: nothing waits for it, so nobody is notified."""
        self.epoch = epoch
        self._use(carrier)
        self.outbox.is_open = is_open

    def _use(self, carrier: FrameCarrier) -> None:
        self.carrier = carrier
        if isinstance(carrier, BreakableCarrier):
            carrier.on_break = self._resend

    def open(self) -> None:
        """Open the link for all messages, and send the waiting ones."""
        self.outbox.is_open = self.is_connected
        self.outbox.write_waiting()
        if self.is_connected:
            self.host.link_opened(self.slot, self.epoch)

    def hold_requests(self) -> None:
        """Send only messages of the control plane; others wait for the next incarnation."""
        self.outbox.hold_requests()

    def mark_lost(self, epoch: int, error: CallboardError) -> None:
        """That incarnation is lost, with all frames under way; waiting messages wait on."""
        if epoch != self.epoch or self.carrier is None:
            return
        self._reset()
        self.host.link_lost(self.slot, epoch, error)

    def declare_dead(self, epoch: int, error: CallboardError) -> None:
        """The root declares this incarnation, and all before it, dead."""
        self.dead_epoch = max(self.dead_epoch, epoch)
        if self.epoch <= epoch:
            self.mark_lost(self.epoch, error)

    def close(self, error: CallboardError) -> None:
        """The slot has ended for good: refuse all waiting messages."""
        self.is_closed = True
        self._reset()
        self.host.link_closed(self.slot, error)
        self.outbox.close(error)
        if self._ack_timer is not None:
            self._ack_timer.cancel()

    def _reset(self) -> None:
        if self.carrier is not None:
            self.carrier.close()
        self.carrier = None
        self._granted = self.host.limits.link_credit
        self.core = LinkCore(self.host.limits)
        self._in_flight = self._in_flight_again = 0
        self._resend_to = 0
        self._ack_owed = False
        self.outbox.reset(self.core)
        lost, self.receiver = (
            self.receiver,
            FrameReceiver(self.host, self.slot, self.core, self.outbox),
        )
        lost.close()

    # --- frames out --------------------------------------------------------------------

    def cork(self) -> None:
        """Hold frames back: the return of a peer's call will carry the next one."""
        self._corked += 1

    def uncork(self) -> None:
        """Let frames leave by themselves again."""
        self._corked -= 1
        if not self._corked and self.outbox.has_frames:
            self.flush_soon()

    def flush_soon(self) -> None:
        """Send all messages that there are by the next loop iteration."""
        if not self.flush_is_scheduled:
            self.flush_is_scheduled = True
            self.host.loop.call_soon(self._flush_scheduled_now)

    def _flush_scheduled_now(self) -> None:
        self.flush_is_scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send as many frames as may be under way."""
        if self._is_flushing:
            return  # The call that is flushing goes on.
        self._is_flushing = True
        try:
            self._flush()
        finally:
            self._is_flushing = False

    def _flush(self) -> None:
        outbox = self.outbox
        while (
            self._in_flight < self._window
            and not self._corked
            and self.carrier is not None
            and outbox.has_frames
        ):
            frame, number = self._next_frame()
            if frame.references or not self.carrier.write(frame.data):
                self._in_flight += 1
                self.host.run_task(self._carry(frame, number, self.epoch))
            outbox.write_behind()

    def _next_frame(self) -> tuple[SentFrame, int]:
        writer, credit_used = self.outbox.next_frame()
        core = self.core
        core.sent += credit_used
        references = writer.references
        number = core.sequence + 1
        data = writer.finish(self._header(number))
        self.frames_out += 1
        self.bytes_out += len(data)
        frame = SentFrame(data, references, self.host.now())
        core.number(frame)
        self._ack_owed = False
        if self._ack_timer is None:
            self._arm(RESEND_AFTER_S)  # The sender must find out when no acknowledgement comes.
        return frame, number

    def _header(self, number: int) -> FrameHeader:
        core = self.core
        self._bytes_not_acknowledged = 0
        self._granted = core.grant()
        return FrameHeader(
            self.host.slot,
            self.host.epoch,
            self.slot,
            self.epoch,
            number,
            core.received,
            self._granted,
        )

    def bookkeeping(self) -> bytes:
        """A frame without messages: the acknowledgement and the grant."""
        self._ack_owed = False
        data = FrameWriter().finish(self._header(0))
        self.frames_out += 1
        self.bytes_out += len(data)
        return data

    def take_frame(self) -> tuple[bytes, Sequence[Any]]:
        """The frame that a returning call carries; one without messages when there are none."""
        if self.outbox.has_frames and self.carrier is not None:
            frame, _ = self._next_frame()
            self.outbox.write_waiting()
            return frame.data, frame.references
        return self.bookkeeping(), ()

    async def _carry(
        self, frame: SentFrame, number: int, epoch: int, *, again: bool = False
    ) -> None:
        failures = 0
        while epoch == self.epoch and self.carrier is not None:
            try:
                answer, references = await self.carrier.deliver(frame.data, frame.references)
            except HostLost as error:
                self.mark_lost(epoch, error)
                return
            except TransportBroken as error:
                LOGGER.info("frame %d to host %d is sent again: %s", number, self.slot, error)
                failures += 1
                await asyncio.sleep(RETRY.delay_s(failures))
                continue
            if epoch != self.epoch:
                return
            self._in_flight -= 1
            self._in_flight_again -= again
            if answer:
                self.host.receive(answer, references)
            if self._resend_to:
                self._resend_more()
            self.outbox.write_waiting()
            self.flush()
            return

    # --- frames in -------------------------------------------------------------------------

    def count_received(self, size_bytes: int) -> None:
        """Count a received frame."""
        self.frames_in += 1
        self.bytes_in += size_bytes
        self._bytes_not_acknowledged += size_bytes

    def receive(self, frame: Frame, references: Sequence[Any]) -> None:
        """Take a frame of this link's incarnation; raises `FrameError`."""
        header = frame.header
        core = self.core
        core.read_header(header)
        if header.sequence:
            before = core.duplicates
            for ready, its_references in core.receive(header.sequence, (frame, references)):
                self.receiver.accept(ready, its_references)
            self.owe_ack()
            if (
                core.duplicates != before
                or self._bytes_not_acknowledged > ACK_BYTES
                or core.grant() - self._granted >= self._grant_step
            ):
                # The peer sends again what has come, or may be short of memory or credit, and no
                # frame of this side is under way.
                self._ack_now()
        self.outbox.write_waiting()

    # --- acknowledgement and loss ---------------------------------------------------------

    def owe_ack(self) -> None:
        """Tell the peer soon what has come, and what it may send."""
        if not self._ack_owed:
            self._ack_owed = True
            self._arm(ACK_DELAY_S)

    def _arm(self, delay_s: float) -> None:
        """Call `_ack_due` after `delay_s` at the latest."""
        at_s = self.host.now() + delay_s
        if self._ack_timer is not None:
            if self._ack_timer.when() <= at_s:
                return
            self._ack_timer.cancel()
        self._ack_timer = self.host.loop.call_at(at_s, self._ack_due)

    def _ack_due(self) -> None:
        self._ack_timer = None
        oldest = next(iter(self.core.unacknowledged.values()), None)
        if oldest is not None:
            is_late = self.host.now() - oldest.sent_s > RESEND_AFTER_S
            if is_late and not self._in_flight and not self._resend_to:
                self._resend()
            self._arm(RESEND_AFTER_S)
        if self._ack_owed:
            self._ack_now()

    def _ack_now(self) -> None:
        carrier = self.carrier
        if carrier is None or self._corked:
            return
        if not carrier.write(self.bookkeeping()):
            self.host.run_task(self._carry_ack(carrier, self.epoch))

    async def _carry_ack(self, carrier: FrameCarrier, epoch: int) -> None:
        try:
            answer, references = await carrier.deliver(self.bookkeeping(), ())
        except HostLost as error:
            self.mark_lost(epoch, error)
        except TransportBroken:
            self.owe_ack()
        else:
            if epoch == self.epoch and answer:
                self.host.receive(answer, references)

    def _resend(self) -> None:
        """Send again all frames that may be lost; the peer drops repeats."""
        self._resent, self._resend_to = 0, self.core.sequence
        self._resend_more()

    def _resend_more(self) -> None:
        """Send the next ones again, as far as they may be under way."""
        for number, frame in list(self.core.unacknowledged.items()):
            if not self._resent < number <= self._resend_to:
                continue
            # One may always leave: frames that the peer refuses until it has this one, because they
            # are far ahead, may fill the window.
            if self.carrier is None or (self._in_flight >= self._window and self._in_flight_again):
                return
            self._resent = number
            self.frames_resent += 1
            self.bytes_out += len(frame.data)
            renewed = frame._replace(sent_s=self.host.now())
            self.core.unacknowledged[number] = renewed
            if frame.references or not self.carrier.write(frame.data):
                self._in_flight += 1
                self._in_flight_again += 1
                self.host.run_task(self._carry(renewed, number, self.epoch, again=True))
        self._resend_to = 0
