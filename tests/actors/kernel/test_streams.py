"""The window of a stream: nothing lost, nothing out of order, and nobody waits for ever."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.kernel.streams import RENEWALS, StreamWindow
from tests.thoroughness import examples

TIMEOUT_S = 8.0
STEPS = st.lists(
    st.tuples(st.sampled_from(("yield", "come", "take", "pass", "granted")), st.integers(1, 9)),
    max_size=120,
)


class Model:
    """A handler, a reader, and what is on the way between them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.now_s = 0.0
        self.window: StreamWindow[int] = StreamWindow(size, TIMEOUT_S, 0.0)
        self.credit = size
        self.yielded = 0
        self.coming: deque[int] = deque()
        self.grants: deque[int] = deque()
        self.taken: list[int] = []

    def step(self, what: str, count: int) -> None:
        for _ in range(count):
            if what == "yield" and self.credit:
                self.credit -= 1
                self.coming.append(self.yielded)
                self.yielded += 1
            elif what == "come" and self.coming:
                assert self.window.put(self.coming.popleft())
            elif what == "take" and self.window.items:
                self.taken.append(self.window.take())
                self.go_on()
            elif what == "pass":
                self.now_s += 0.5
            elif what == "granted" and self.grants:
                self.credit += self.grants.popleft()

    def go_on(self) -> None:
        count = self.window.grant(self.now_s)
        if count is not None:
            self.grants.append(count)

    def check(self) -> None:
        under_way = len(self.coming) + len(self.window.items)
        assert under_way + self.credit + sum(self.grants) <= self.size
        assert self.taken == list(range(len(self.taken)))
        if not under_way and not self.grants:
            assert 2 * self.credit >= self.size, "the handler waits for a reader that waits for it"


@given(size=st.integers(1, 20), steps=STEPS)
@settings(max_examples=examples(400))
def test_items_come_once_in_order_and_neither_side_waits_for_the_other(
    size: int, steps: list[tuple[str, int]]
) -> None:
    model = Model(size)
    for what, count in steps:
        model.step(what, count)
        model.check()
    total = model.yielded + 2 * size
    while len(model.taken) < total:
        before = len(model.taken)
        for what in ("granted", "yield", "come", "take"):
            model.step(what, size)
        assert len(model.taken) > before
        model.check()


@pytest.mark.parametrize("size", [1, 2, 16])
def test_an_item_without_room_is_refused(size: int) -> None:
    window: StreamWindow[int] = StreamWindow(size, TIMEOUT_S, 0.0)
    assert all(window.put(number) for number in range(size))
    assert not window.put(size)
    assert list(window.items) == list(range(size))


def test_a_slow_reader_gives_the_handler_new_time_before_half_of_the_room() -> None:
    window: StreamWindow[int] = StreamWindow(16, TIMEOUT_S, 0.0)
    window.put(1)
    window.take()
    assert window.grant(0.1) is None
    assert window.grant(TIMEOUT_S / RENEWALS) == 1
    assert window.grant(TIMEOUT_S / RENEWALS + 0.1) is None
    assert window.grant(2 * TIMEOUT_S / RENEWALS) == 0
