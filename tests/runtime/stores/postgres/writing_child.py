"""A writer for kill tests: appends numbered events, and prints the number of the last durable one.

Run as `python -m tests.runtime.stores.postgres.writing_child URL RUN`.
"""

import itertools
import sys
import uuid

from callboard.messages.storage.events import Append, Appended, NewEvent
from callboard.runtime.stores.postgres import PostgresEventStore

SPACE = uuid.UUID(int=0)


def event(run: int, number: int) -> NewEvent:
    """The event of this number, with the same id in every process."""
    name = f"{run}/{number}"
    return NewEvent(uuid.uuid5(SPACE, name).bytes, "tests.written", name.encode())


def main(url: str, run: int) -> None:
    """Write until killed."""
    store = PostgresEventStore(url)
    store.open()
    store.take_over(f"run {run}")
    for first in itertools.count(step=3):
        group = [Append(f"s{n % 5}", (event(run, n),)) for n in range(first, first + 3)]
        for result in store.commit(group):
            assert isinstance(result, Appended)
        sys.stdout.write(f"{first + 2}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
