"""A log in memory whose commits fail, hang or lie as a test says."""

import threading
import uuid
from collections import deque
from collections.abc import Sequence
from typing import Final

from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import CommitUnknown
from callboard.messages.storage.events import Append, Appended, NewEvent
from callboard.runtime.stores.memory import MemoryEventStore

HANG_MAX_S: Final = 30.0


def events(count: int = 1, size: int = 10) -> list[NewEvent]:
    return [NewEvent(uuid.uuid4().bytes, "noted", b"x" * size) for _ in range(count)]


class FaultyStore(MemoryEventStore):
    """Each entry of `faults` is what one commit raises before it does anything.

    `CommitUnknown` is raised after the commit has happened. A commit waits for `gate`, and sets
    `entered` when it begins.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults: deque[Exception] = deque()
        self.fails_always: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.groups: list[list[Append]] = []
        """The groups that were tried, in order."""

    def commit(self, appends: Sequence[Append]) -> list[Appended | CallboardError]:
        self.groups.append(list(appends))
        self.entered.set()
        assert self.gate.wait(HANG_MAX_S), "no test lets it go on"
        fault = self.faults.popleft() if self.faults else self.fails_always
        if fault is None:
            return super().commit(appends)
        if isinstance(fault, CommitUnknown):
            super().commit(appends)
        raise fault
