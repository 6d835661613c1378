"""Pauses: which messages must not leave for a host now, because what they are for is full. Pure.

A pause names a flow key: all messages for one cell, or of those only the ones of one key. Each
flow key that is paused has its row, so what is full holds up nothing else. Flow keys of keys are
found by the key in the message, which the pause says how to read: the sender need not know
that it talks to keyed actors.

A cell whose actor leaves with its host, to come back, sends back what it has not run. That
goes before all that waits for the cell, and nothing leaves for it until the host is gone.

Invariants:
- a message is in the row of its key's flow key if that is paused, and only otherwise in the row
  of its whole cell, so whatever ends first, the messages of a key keep their order;
- `tells` is what all rows together hold of messages that nobody waits for.
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
    """What is paused of one cell."""

    __slots__ = ("bounced", "by_key", "field", "whole")

    def __init__(self) -> None:
        self.field = ""
        """What the key of its messages is in; all its flow keys have the same."""
        self.by_key: dict[int, MessageQueue] = {}
        self.whole: MessageQueue | None = None
        self.bounced: MessageQueue | None = None
        """What has come back; there is a `whole` then, for as long as the host is there."""

    def queue_of(self, message: Contract) -> MessageQueue | None:
        """The row of the message's key, if that is paused by itself."""
        if not self.by_key:
            return None
        try:
            return self.by_key.get(key_hash(message, self.field))
        except InvalidMessage:
            return None  # It has no key, and the other side says so.


class FlowControl:
    """The flow keys that are paused, and what waits in them."""

    __slots__ = ("cells", "tells")

    def __init__(self) -> None:
        self.cells: Final[dict[int, _Cell]] = {}
        """What is paused of each cell; empty nearly always, and then nothing need be asked."""
        self.tells = 0

    def __bool__(self) -> bool:
        """Whether anything is paused."""
        return bool(self.cells)

    def __len__(self) -> int:
        """How many messages wait."""
        return sum(len(queue) for queue in self._queues())

    def queue_of(self, target: int, message: Contract) -> MessageQueue | None:
        """The row that a message has to wait in; None when it need not."""
        cell = self.cells.get(target)
        if cell is None:
            return None
        flow_key = cell.queue_of(message)
        return cell.whole if flow_key is None else flow_key

    def put(self, queue: MessageQueue, item: OutgoingMessage) -> None:
        """Let a message wait in the row that `queue_of` gave for it."""
        self.tells -= queue.tells
        queue.put(item)
        self.tells += queue.tells

    def pause(self, target: int, flow_key: FlowKey) -> None:
        """Let nothing more of a flow key through."""
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
                # Older ones of the same key: before what will come.
                items, cell.whole = cell.whole, MessageQueue()
                for item in items:
                    (queue if cell.queue_of(item.message) is queue else cell.whole).put(item)

    def resume(self, target: int, flow_key: FlowKey) -> MessageQueue | None:
        """End a pause; gives what has waited for that and is free to go now."""
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
        """A message has come back from a cell: until `clear`, nothing more leaves for that."""
        self.pause(item.target, WHOLE_CELL)
        cell = self.cells[item.target]
        if cell.bounced is None:
            cell.bounced = MessageQueue()
        self.put(cell.bounced, item)

    def clear(self) -> list[MessageQueue]:
        """End all pauses; gives what has waited. Of one cell, earlier rows go after later ones."""
        rows = list(self._queues())
        self.cells.clear()
        self.tells = 0
        return rows

    def _queues(self) -> Iterator[MessageQueue]:
        for cell in self.cells.values():
            if cell.whole is not None:
                yield cell.whole
            yield from cell.by_key.values()
            if cell.bounced is not None:
                yield cell.bounced
