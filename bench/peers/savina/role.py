"""What a role is, and what a library must offer to play it.

A message is a tuple: the name of a method, and its arguments. A role never waits: where
the original waits for a reply, it keeps what arrives meanwhile in a stash.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from bench.outcome import Outcome, Params
from bench.savina.games import Output, Round, games_in, outcome_of, sizes_of

__all__ = ["Message", "Play", "Role", "Stage", "play_all"]

Message: TypeAlias = tuple[Any, ...]
"""The name of a method of the receiver, then its arguments."""


class Role:
    """An actor's behaviour; `me` and the three functions are set by the library's module."""

    me: Any
    """What others reach this actor by."""
    tell: Callable[[Any, Message], None]
    """Send a message, without waiting."""
    spawn: Callable[..., None]
    """Start an actor; this one is told `("spawned", reference)`."""
    leave: Callable[[], None]
    """End this actor after the current message."""

    def receive(self, message: Message) -> None:
        """Handle one message."""
        getattr(self, message[0])(*message[1:])


class Stage(Protocol):
    """What a library offers to a game."""

    async def start(self, role: type[Role], *args: Any) -> Any:
        """A new actor; it is there when this returns."""

    async def tell(self, to: Any, message: Message) -> None:
        """Send a message."""

    async def collector(self, reports: int) -> Any:
        """An actor that takes so many `("report", counts)`."""

    async def ready(self) -> None:
        """Return when all actors can take messages; the clock starts then."""

    async def reported(self, collector: Any) -> Output:
        """The sums over all reports, once they are there."""

    async def clear(self) -> None:
        """End all actors of the game."""


Play: TypeAlias = Callable[[Stage, Mapping[str, int]], Awaitable[Round]]


async def play_all(
    stage: Stage, plays: Mapping[str, Play], params: Params, notes: Sequence[str] = ()
) -> Outcome:
    """All games that have sizes, one after another."""
    rounds = {}
    for game in games_in(params):
        rounds[game.name] = await plays[game.name](stage, sizes_of(game, params))
        await stage.clear()
    return outcome_of(params, rounds, tuple(notes))
