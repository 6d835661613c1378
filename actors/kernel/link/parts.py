"""Large messages in parts: how a link sends them, and how the other side joins them. Pure.

A message over `inline_bytes_max` would hold up all others of its link while it is written. So a
link with a stream sends it in parts, one in each frame, and other messages share these frames.
Its envelope comes after the last part and names the number of the value that the parts make.

Messages keep their order for each cell: later messages for a cell wait behind a large one.
Replies wait for nothing. A few large messages are sent at a time, in turn; others wait
unencoded, so a broadcast of one large value does not hold a copy of it for each receiver.

Invariants:
- a cell has at most one transfer, and `behind` has a queue for each cell with one;
- `tells` is the number of messages in the queues of `behind` that no sender waits for;
- a receiver keeps at most `values_in_parts_max` unfinished values, of `payload_bytes_max` each.
"""

import itertools
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import PayloadLost
from callboard.messages.core.limits import Limits

from .queue import MessageQueue, OutgoingMessage

__all__ = ["Joiner", "Transfer", "Transfers"]


class Transfer:
    """One large message that is sent in parts, or waits for its turn."""

    __slots__ = (
        "_offset",
        "_views",
        "correlation",
        "deadline_s",
        "item",
        "kind",
        "message",
        "number",
        "sizes",
        "step",
        "target",
    )

    def __init__(
        self,
        kind: int,
        target: int,
        correlation: int,
        message: Contract,
        *,
        deadline_s: float = 0.0,
        step: str = "",
        item: OutgoingMessage | None = None,
    ) -> None:
        self.kind: Final = kind
        self.target: Final = target
        self.correlation: Final = correlation
        self.message: Final = message
        self.deadline_s: Final = deadline_s
        """The deadline of an ask, on this host's clock; 0 for none."""
        self.step: Final = step
        self.item: Final = item
        """The TELL or ASK; None for a reply and an ask that bounces."""
        self.number = 0
        """The number of its value on this link, once it has begun."""
        self.sizes: tuple[int, ...] = ()
        """The sizes of its body and its buffers, in bytes."""
        self._views: deque[memoryview] = deque()
        self._offset = 0

    @property
    def window(self) -> int:
        """How many partial results of an ask may be under way; 0 for a step: that is known."""
        if self.step or self.item is None or self.item.call is None:
            return 0
        return self.item.call.window

    @property
    def trace(self) -> bytes:
        """The packed context of an ask's span."""
        return b"" if self.item is None or self.item.call is None else self.item.call.trace

    @property
    def is_abandoned(self) -> bool:
        """Whether its sender gave up."""
        return self.item is not None and self.item.is_abandoned

    def begin(self, number: int, pieces: Sequence[Any]) -> None:
        """Give it its number, and the bytes to send."""
        self.number = number
        views = (memoryview(piece).cast("B") for piece in pieces)
        # An array may change before its last part has left.
        self._views.extend(view if view.readonly else memoryview(bytes(view)) for view in views)
        self.sizes = tuple(len(view) for view in self._views)

    def next_part(self, bytes_max: int) -> memoryview | None:
        """The next part, of at most so many bytes; None after the last one."""
        while self._views:
            view, start = self._views[0], self._offset
            self._offset += bytes_max
            if self._offset >= len(view):
                self._views.popleft()
                self._offset = 0
            if start < len(view):
                return view[start : start + bytes_max]
        return None

    @property
    def total_bytes(self) -> int:
        """The bytes of all its parts."""
        return sum(self.sizes)

    @property
    def is_sent(self) -> bool:
        """Whether all parts have been taken."""
        return not self._views

    def layout(self) -> bytes:
        """The sizes of the pieces, for the body of the envelope."""
        packed: bytes = msgpack.packb(self.sizes)
        return packed


class Transfers:
    """The large messages that one link sends, and the messages that wait behind them."""

    __slots__ = ("_active", "_limits", "_numbers", "_waiting", "behind", "credit", "idle", "tells")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._numbers = itertools.count(1)
        self._active: deque[Transfer] = deque()
        self._waiting: deque[Transfer] = deque()
        self.behind: Final[dict[int, MessageQueue]] = {}
        """The messages that wait behind a large one, by cell; nearly always empty."""
        self.idle: Final[dict[int, None]] = {}
        """The cells whose transfer has ended, and whose queue has yet to be written."""
        self.credit = 0
        """Envelopes that need credit and have not been written."""
        self.tells = 0

    def __len__(self) -> int:
        """How many messages wait or are being sent."""
        waiting_behind = sum(len(queue) for queue in self.behind.values())
        return len(self._active) + len(self._waiting) + waiting_behind

    @property
    def is_full(self) -> bool:
        """Whether a further large message has to wait for its turn."""
        return len(self._active) >= self._limits.values_in_parts_max

    def add(self, transfer: Transfer, pieces: Sequence[Any]) -> None:
        """Send a message, or let it wait for its turn; later ones for its cell wait behind it."""
        if transfer.item is not None:
            self.credit += 1
            self.behind.setdefault(transfer.target, MessageQueue())
            self.idle.pop(transfer.target, None)
        if self.is_full:
            self._waiting.append(transfer)
        else:
            self.begin(transfer, pieces)

    def begin(self, transfer: Transfer, pieces: Sequence[Any]) -> None:
        """Begin to send a message, whose turn it is."""
        transfer.begin(next(self._numbers), pieces)
        self._active.append(transfer)

    def next_waiting(self) -> Transfer | None:
        """The next message to encode and begin; None when there is none, or no room for it."""
        return self._waiting.popleft() if self._waiting and not self.is_full else None

    @property
    def has_parts(self) -> bool:
        """Whether there is a part to send."""
        return bool(self._active)

    def next(self) -> Transfer:
        """The message that sends the next part; they take turns."""
        transfer = self._active[0]
        self._active.rotate(-1)
        return transfer

    def end(self, transfer: Transfer) -> None:
        """The message has been sent, or will not be: the messages behind it may leave."""
        if transfer.number:
            self._active.remove(transfer)
        if transfer.item is not None:
            self.credit -= 1
            self.idle[transfer.target] = None

    def put(self, queue: MessageQueue, item: OutgoingMessage) -> None:
        """Let a message wait in a queue of `behind`."""
        self.tells -= queue.tells
        queue.put(item)
        self.tells += queue.tells

    def put_first(self, target: int, older: MessageQueue) -> None:
        """Let older messages for a cell of `behind` wait before the others."""
        self.behind[target].put_first(older)
        self.tells += older.tells

    def take(self, target: int) -> OutgoingMessage | None:
        """The next message of an idle cell; None, and no more `behind`, after the last one."""
        queue = self.behind[target]
        if not queue:
            del self.behind[target], self.idle[target]
            return None
        self.tells -= queue.tells
        item = queue.take()
        self.tells += queue.tells
        return item

    def hold_requests(self) -> tuple[list[int], list[MessageQueue]]:
        """Stop the requests, except for the control actor, until the link opens again.

        Returns the numbers of the values that have begun, and the requests by cell, in order.
        """
        held = [each for each in (*self._active, *self._waiting) if _is_held(each)]
        queues = self._requeue(held)
        for transfer in held:
            (self._active if transfer.number else self._waiting).remove(transfer)
        return [transfer.number for transfer in held if transfer.number], queues

    def clear(self) -> tuple[list[MessageQueue], list[OutgoingMessage]]:
        """End all transfers; returns the requests that have not left, by cell and in order.

        Apart from these it returns the messages for the control actor, which are lost with it.
        """
        queues = self._requeue([*self._active, *self._waiting])
        self._active.clear()
        self._waiting.clear()
        lost = [item for queue in queues for item in queue if item.target == CONTROL_CELL]
        return [queue for queue in queues if queue[0].target != CONTROL_CELL], lost

    def _requeue(self, transfers: Sequence[Transfer]) -> list[MessageQueue]:
        queues = []
        for transfer in transfers:
            if transfer.item is not None:
                self.credit -= 1
                first = MessageQueue()
                first.put(transfer.item)
                self.put_first(transfer.target, first)
                self.idle[transfer.target] = None
        for target in list(self.idle):
            queue = self.behind.pop(target)
            del self.idle[target]
            self.tells -= queue.tells
            if queue:
                queues.append(queue)
        return queues

    def validate_state(self) -> None:
        """Assert the invariants of this class."""
        cells = [each.target for each in (*self._active, *self._waiting) if each.item is not None]
        assert len(set(cells)) == len(cells) == self.credit
        assert set(self.behind) == {*cells, *self.idle}
        assert not set(cells) & set(self.idle)
        assert self.tells == sum(queue.tells for queue in self.behind.values())
        assert len(self._active) <= self._limits.values_in_parts_max
        assert self.is_full or not self._waiting


def _is_held(transfer: Transfer) -> bool:
    """Whether a message may not leave before the link is open."""
    return transfer.item is not None and transfer.target != CONTROL_CELL


class Joiner:
    """Joins the parts that one incarnation of a peer sends."""

    __slots__ = ("_limits", "_values")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._values: dict[int, tuple[memoryview, int]] = {}
        """The memory of each value, and how many bytes of it have come."""

    def __len__(self) -> int:
        """How many values are not complete."""
        return len(self._values)

    def add(self, number: int, total_bytes: int, part: memoryview) -> bool:
        """Keep a part of a value of so many bytes; False when the value is over a limit."""
        found = self._values.get(number)
        if found is None:
            is_over = not 0 < total_bytes <= self._limits.payload_bytes_max
            if is_over or len(self._values) >= self._limits.values_in_parts_max:
                return False
            # The system gives the memory page by page, as it is written.
            found = memoryview(bytearray(total_bytes)), 0
        memory, start = found
        end = start + len(part)
        if end > len(memory):
            self.drop(number)
            return False
        memory[start:end] = part
        self._values[number] = memory, end
        return True

    def drop(self, number: int) -> None:
        """Forget a value, whose sender gave up, or which no asker waits for."""
        self._values.pop(number, None)

    def take(self, number: int, layout: bytes) -> tuple[memoryview, Sequence[memoryview]]:
        """The body and the buffers of a value; raises `PayloadLost` without all its parts."""
        memory, end = self._values.pop(number, (memoryview(b""), 0))
        sizes = _read_layout(layout, self._limits)
        if not sizes or not sum(sizes) == end == len(memory):
            raise PayloadLost(
                f"a large value came with {end} of {sum(sizes)} bytes.", advice="Send it again."
            )
        view = memory.toreadonly()
        ends = list(itertools.accumulate(sizes))
        return view[: ends[0]], [view[start:end] for start, end in itertools.pairwise(ends)]


def _read_layout(layout: bytes, limits: Limits) -> tuple[int, ...]:
    try:
        sizes = msgpack.unpackb(
            layout,
            use_list=False,
            max_array_len=min(len(layout), limits.buffers_max + 1),
            max_map_len=0,
            max_ext_len=0,
        )
        is_right = all(type(size) is int and size >= 0 for size in sizes)
    except Exception:  # noqa: BLE001 - a peer's bytes may be anything
        return ()
    return sizes if is_right and type(sizes) is tuple else ()
