"""A hub on a clock of the test."""

from collections.abc import Callable

import pytest

from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.ports import ChannelSource

from .clients import Tokens

__all__ = ["Clock", "MakeHub"]


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.wall_s = 1_700_000_000.0

    def now(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.wall_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.wall_s += seconds


MakeHub = Callable[..., Hub]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_hub(clock: Clock) -> MakeHub:
    count = 0

    def new_id() -> str:
        nonlocal count
        count += 1
        return f"id-{count}"

    def make(
        *sources: ChannelSource,
        tokens: Tokens | None = None,
        limits: HubLimits | None = None,
        **more: object,
    ) -> Hub:
        return Hub(
            tokens or Tokens(),
            sources,
            limits=limits,
            now=clock.now,
            wall=clock.wall,
            new_id=new_id,
            **more,  # type: ignore[arg-type]
        )

    return make
