"""The roles of games, and the protocol of libraries that run them.

A message is a tuple: the name of a method, and its arguments. A role never waits: where the
original game waits for a reply, the role stashes other messages.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from bench.outcome import Outcome, Params
from bench.savina.games import Output, Round, games_in, outcome_of, sizes_of

__all__ = ["ActorLibrary", "GameDriver", "Message", "Role", "run_all"]

Message: TypeAlias = tuple[Any, ...]
"""The name of a method of the receiver, then its arguments."""


class Role:
    """An actor's behaviour. The module of the library sets `me` and the three functions."""

    me: Any
    """The reference to this actor."""
    tell: Callable[[Any, Message], None]
    """Send a message, without waiting."""
    spawn: Callable[..., None]
    """Start an actor. This one then receives `("spawned", reference)`."""
    leave: Callable[[], None]
    """End this actor after the current message."""

    def receive(self, message: Message) -> None:
        """Handle one message."""
        getattr(self, message[0])(*message[1:])


class ActorLibrary(Protocol):
    """The functions of a library that a game needs."""

    async def start(self, role: type[Role], *args: Any) -> Any:
        """Start an actor. It exists when this returns."""

    async def tell(self, to: Any, message: Message) -> None:
        """Send a message."""

    async def collector(self, reports: int) -> Any:
        """Start an actor that receives a number of `("report", counts)`."""

    async def ready(self) -> None:
        """Wait until all actors can receive messages. Then the clock starts."""

    async def reported(self, collector: Any) -> Output:
        """Wait for all reports, and give their sums."""

    async def clear(self) -> None:
        """End all actors of the game."""


GameDriver: TypeAlias = Callable[[ActorLibrary, Mapping[str, int]], Awaitable[Round]]


async def run_all(
    library: ActorLibrary,
    drivers: Mapping[str, GameDriver],
    params: Params,
    notes: Sequence[str] = (),
) -> Outcome:
    """Run all games with sizes, one after another."""
    rounds = {}
    for game in games_in(params):
        rounds[game.name] = await drivers[game.name](library, sizes_of(game, params))
        await library.clear()
    return outcome_of(params, rounds, tuple(notes))
