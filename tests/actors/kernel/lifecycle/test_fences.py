"""The fencing tokens of one host."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.kernel.lifecycle.fences import Fences

FLOORS = st.lists(st.integers(min_value=0, max_value=(1 << 63) - 10_000), max_size=20)


@given(FLOORS)
def test_tokens_grow_and_lie_above_every_floor(floors: list[int]) -> None:
    fences, newest = Fences(), 0
    for floor in floors:
        fences.raise_to(floor)
        for _ in range(3):
            token = fences.draw()
            assert token > newest
            assert token > floor
            assert token < 1 << 63
            newest = token
