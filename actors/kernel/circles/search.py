"""The state of a search for a circle, as it goes from host to host. Pure.

A search begins at an ask that waits in a mailbox. It goes back from asker to asker, as long as
each of them waits for the next, and visits the hosts of the askers.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack

from callboard.messages.core.errors import CircularAsk

__all__ = ["ACTORS_MAX", "Search", "circular_ask", "read_search"]

ACTORS_MAX: Final = 16
"""Actors that one search visits. An ask in a longer chain ends at its deadline."""
NAME_CHARS_MAX: Final = 200


class Search(NamedTuple):
    """A search under way."""

    slot: int
    """The host whose actor cannot take the ask."""
    source: int
    """The host of the asker; with `correlation` it identifies the ask."""
    correlation: int
    hits: int = 0
    """Handlers of the ask's receiver that the search has met."""
    actors: tuple[tuple[str, str], ...] = ()
    """Host and path of each asker that it has met, the nearest first."""

    def visit(self, host_name: str, path: str) -> "Search":
        """The search after one more actor."""
        actor = (host_name[:NAME_CHARS_MAX], path[:NAME_CHARS_MAX])
        return self._replace(actors=(*self.actors, actor))

    def to_bytes(self) -> bytes:
        """The search for the wire."""
        return bytes(msgpack.packb(self))


def read_search(body: bytes) -> Search | None:
    """A search from the wire; None for bytes that are none."""
    try:
        slot, source, correlation, hits, actors = msgpack.unpackb(body, use_list=False)
        search = Search(slot, source, correlation, hits, tuple((str(h), str(p)) for h, p in actors))
    except Exception:  # noqa: BLE001 - bytes from outside may be anything
        return None
    numbers: tuple[Any, ...] = search[:4]
    is_valid = all(type(number) is int and number >= 0 for number in numbers)
    return search if is_valid and len(search.actors) <= ACTORS_MAX else None


def circular_ask(
    asked: str, host_name: str, path: str, askers: Sequence[tuple[str, str]]
) -> CircularAsk:
    """The error for an ask that comes back: `askers` are host and path, the nearest first."""
    chain = [*reversed(askers), (host_name, path)]
    many = len({host for host, _ in chain}) > 1
    names = [f"{path} on {host}" if many else path for host, path in chain]
    return CircularAsk(
        f"asks in a circle: {' -> '.join(names)}. The last one, a {asked}, is not answered: "
        f"{names[-1]} handles no other message before the first one has its reply.",
        advice="Pass what it needs in the first request, tell instead of asking, or set "
        "reentrant = True on the actor.",
        may_have_run=False,
        actors=names,
    )
