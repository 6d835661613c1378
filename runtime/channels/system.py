"""The channel `system`: hosts, standbys, drivers and actors, as far as they change what they are.

Values have the keys `host/SLOT`, `actor/SLOT/CELL`, `driver/SLOT` and `standbys`. Figures that
change all the time (messages, memory, processor time) are left out: metrics have them.
"""

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from callboard.actors.streaming.polled import PolledSource
from callboard.messages.control.views import ActorView, CallboardView, HostView, QuerySystem
from callboard.messages.core.contract import Request

__all__ = ["SYSTEM", "Ask", "state_of", "system_source"]

SYSTEM: Final = "system"
ACTORS_MAX: Final = 2_000
"""The most actors in the state; those with recent failures come first."""
ACTORS_OF_A_HOST: Final = 50
HOST_FIELDS: Final = (
    "slot", "epoch", "name", "pid", "node", "actors", "state", "problem", "is_stopping",
    "restarts", "deaths", "dead_letters",
)  # fmt: skip
ACTOR_FIELDS: Final = (
    "cell", "name", "kind", "path", "lifecycle", "incarnation", "restart", "restarts",
    "last_failure", "children", "runs_on", "runs_as",
)  # fmt: skip
ReplyT = TypeVar("ReplyT")


class Ask(Protocol):
    """Asks the control plane, or the actor that offers a contract."""

    def __call__(self, request: Request[ReplyT], /) -> Awaitable[ReplyT]:
        """The reply. Raises a `CallboardError`."""


def system_source(ask: Ask, *, every_s: float = 1.0) -> PolledSource:
    """The source of `system`."""
    hosts_seen = 1

    async def read() -> Mapping[str, Any]:
        nonlocal hosts_seen
        most = min(ACTORS_OF_A_HOST, ACTORS_MAX // hosts_seen)
        view = await ask(QuerySystem(actors_max=most))
        hosts_seen = max(1, len(view.hosts))
        return state_of(view)

    return PolledSource(SYSTEM, read, every_s=every_s)


def state_of(view: CallboardView) -> dict[str, Any]:
    """The values of a view of the system."""
    state: dict[str, Any] = {
        "system": {"name": view.name, "restarts": view.restarts, "standbys": view.standbys}
    }
    for host in view.hosts:
        state[f"host/{host.slot}"] = _fields(host, HOST_FIELDS)
        for actor in _actors(host.members):
            state[f"actor/{host.slot}/{actor.cell}"] = _fields(actor, ACTOR_FIELDS)
    for driver in view.drivers:
        state[f"driver/{driver.slot}"] = {"slot": driver.slot, "name": driver.name}
    return state


def _actors(members: Sequence[ActorView]) -> Iterator[ActorView]:
    for member in members:
        yield member
        yield from _actors(member.members)


def _fields(view: HostView | ActorView, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(view, name) for name in names}
