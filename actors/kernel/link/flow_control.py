"""Flow control: the messages that must not leave for a host, because a mailbox is full. Pure.

A pause names a flow key: all messages for one cell, or only those of one key. Each paused
flow key has a queue of its own, so a full mailbox delays no other messages. A pause also
names the field of the key in a message, so the sender need not know of keyed actors.

When a host stops to restart, its cells bounce the asks that they have not run. These go
before all messages that wait for the cell, and nothing leaves for it until the host has ended.

Invariants:
- a message waits in the queue of its own key if that is paused, and otherwise in the queue of
  its whole cell; so the messages of a key keep their order, whichever pause ends first;
- `tells` is the number of messages in all queues that no sender waits for.
"""

from collections.abc import Iterator
from typing import Final

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import InvalidMessage

from ..directory.routing import key_hash
from ..flow_key import WHOLE_CELL, FlowKey
from .queue import MessageQueue, OutgoingMessage

__all__ = ["FlowControl"]


class _Cell:
    """The paused flow keys of one cell."""

    __slots__ = ("bounced", "by_key", "field", "whole")

    def __init__(self) -> None:
        self.field = ""
        """The field of the key in its messages; all its flow keys have the same."""
        self.by_key: dict[int, MessageQueue] = {}
        self.whole: MessageQueue | None = None
        self.bounced: MessageQueue | None = None
        """Bounced asks; while there are any, the whole cell is paused, until the host has ended."""

    def queue_of(self, message: Contract) -> MessageQueue | None:
        """The queue of the message's key, if that key is paused."""
        if not self.by_key:
            return None
        try:
            return self.by_key.get(key_hash(message, self.field))
        except InvalidMessage:
            return None  # A message without a key: the other side refuses it.


class FlowControl:
    """The paused flow keys, and the messages that wait in them."""

    __slots__ = ("cells", "tells")

    def __init__(self) -> None:
        self.cells: Final[dict[int, _Cell]] = {}
        """The paused flow keys by cell; nearly always empty, and then no method need be called."""
        self.tells = 0

    def __bool__(self) -> bool:
        """Whether anything is paused."""
        return bool(self.cells)

    def __len__(self) -> int:
        """How many messages wait."""
        return sum(len(queue) for queue in self._queues())

    def queue_of(self, target: int, message: Contract) -> MessageQueue | None:
        """The queue that a message has to wait in; None when it need not wait."""
        cell = self.cells.get(target)
        if cell is None:
            return None
        queue = cell.queue_of(message)
        return cell.whole if queue is None else queue

    def put(self, queue: MessageQueue, item: OutgoingMessage) -> None:
        """Put a message into the queue that `queue_of` returned for it."""
        self.tells -= queue.tells
        queue.put(item)
        self.tells += queue.tells

    def pause(self, target: int, flow_key: FlowKey) -> None:
        """Pause a flow key: its messages wait."""
        cell = self.cells.get(target)
        if cell is None:
            cell = self.cells[target] = _Cell()
        if flow_key == WHOLE_CELL:
            if cell.whole is None:
                cell.whole = MessageQueue()
            return
        if not cell.by_key:
            cell.field = flow_key.field
        if flow_key.key not in cell.by_key and flow_key.field == cell.field:
            queue = cell.by_key[flow_key.key] = MessageQueue()
            if cell.whole is not None:
                # Older messages of the same key go before the next ones.
                items, cell.whole = cell.whole, MessageQueue()
                for item in items:
                    (queue if cell.queue_of(item.message) is queue else cell.whole).put(item)

    def resume(self, target: int, flow_key: FlowKey) -> MessageQueue | None:
        """End a pause; returns the messages that may leave now."""
        cell = self.cells.get(target)
        if cell is None:
            return None
        if flow_key == WHOLE_CELL:
            if cell.bounced is not None:
                return None
            queue, cell.whole = cell.whole, None
        else:
            queue = cell.by_key.pop(flow_key.key, None) if flow_key.field == cell.field else None
            if queue is not None and cell.whole is not None:
                for item in queue:
                    cell.whole.put(item)
                queue = None
        if cell.whole is None and not cell.by_key:
            del self.cells[target]
        if queue is not None:
            self.tells -= queue.tells
        return queue

    def put_bounced(self, item: OutgoingMessage) -> None:
        """Put a bounced message first, and pause its whole cell until `clear`."""
        self.pause(item.target, WHOLE_CELL)
        cell = self.cells[item.target]
        if cell.bounced is None:
            cell.bounced = MessageQueue()
        self.put(cell.bounced, item)

    def clear(self) -> list[MessageQueue]:
        """End all pauses; returns the queues. Of one cell, a later queue has the older messages."""
        queues = list(self._queues())
        self.cells.clear()
        self.tells = 0
        return queues

    def _queues(self) -> Iterator[MessageQueue]:
        for cell in self.cells.values():
            if cell.whole is not None:
                yield cell.whole
            yield from cell.by_key.values()
            if cell.bounced is not None:
                yield cell.bounced
