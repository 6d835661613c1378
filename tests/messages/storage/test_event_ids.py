"""Ids of events: no two alike, and later ones larger."""

import itertools
import subprocess
import sys
import time
import uuid

from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.storage.event_ids import (
    MARK,
    NumberedIds,
    mark_of,
    new_event_id,
    new_event_ids,
)
from callboard.messages.storage.events import EVENT_ID_BYTES

MANY = 20_000


def test_a_new_id_is_a_uuid_of_version_7() -> None:
    before_ms = time.time_ns() // 1_000_000
    found = uuid.UUID(bytes=new_event_id())
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert before_ms <= found.int >> 80 <= time.time_ns() // 1_000_000


def test_new_ids_differ_and_grow() -> None:
    ids = [new_event_id() for _ in range(MANY)]
    assert len(set(ids)) == MANY
    # Two of one step of time may stand in any order; a clock that is set back, too.
    falls = sum(second < first for first, second in itertools.pairwise(ids))
    assert falls < MANY // 10


def test_ids_of_one_list_are_in_a_row_and_of_no_other() -> None:
    assert new_event_ids(0) == []
    lists = [new_event_ids(1_000) for _ in range(20)]
    assert len({id_ for ids in lists for id_ in ids}) == 20_000
    for ids in lists:
        numbers = [int.from_bytes(id_) for id_ in ids]
        assert numbers == list(range(numbers[0], numbers[0] + 1_000))
        ends = [uuid.UUID(bytes=id_) for id_ in (ids[0], ids[-1])]
        assert [(end.version, end.variant) for end in ends] == [(7, uuid.RFC_4122)] * 2


def test_a_fork_makes_different_ids() -> None:
    code = (
        "import os\n"
        "from callboard.messages.storage.event_ids import new_event_id\n"
        "child = os.fork()\n"
        "text = ''.join(new_event_id().hex() + ' ' for _ in range(100))\n"
        "os.write(1, text.encode())\n"
        "if child: os.waitpid(child, 0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert len(set(ended.stdout.split())) == 200


@given(
    names=st.lists(st.text(), min_size=1, max_size=4, unique=True),
    began_at=st.floats(-1e10, 1e10),
)
def test_numbered_ids_are_one_writer_s_in_a_row(names: list[str], began_at: float) -> None:
    seen: set[bytes] = set()
    for name in names:
        ids = NumberedIds(name, began_at)
        made = [ids.next() for _ in range(300)]
        assert made == sorted(made)
        assert {len(id_) for id_ in made} == {EVENT_ID_BYTES}
        assert {id_[MARK] for id_ in made} == {mark_of(name)}
        again = NumberedIds(name, began_at)
        assert [again.next() for _ in range(300)] == made
        assert not seen.intersection(made)
        seen.update(made)


def test_ids_of_later_writers_are_larger() -> None:
    earlier, later = NumberedIds("a", 1_000_000_000.0), NumberedIds("b", 1_000_000_001.0)
    ids = [earlier.next() for _ in range(300)]
    assert max(ids) < later.next()
