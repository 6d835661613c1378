"""Spawn requests: the actors that a driver wants, pickled for the host that starts them."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from callboard.actors.kernel.actor import Actor, Behaviour
from callboard.actors.kernel.host.control_actor import SpawnEntry
from callboard.actors.kernel.host.extension import Startable
from callboard.messages.control.hosts import NAME_CHARS_MAX, HostSpec
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.spawning import Spawned, SpawnPart
from callboard.messages.control.spec import STOP_TIMEOUT_DEFAULT, StopTimeout
from callboard.messages.core.errors import SpecError, error_from_data
from callboard.messages.ports import Pickler

__all__ = ["START_BATCH", "contracts_of", "part_of", "raise_first"]

STOP_GRACE_S: Final = 1.0
START_BATCH: Final = 1_000
"""Top-level actors in one message: the host decodes one batch while it starts another."""


def part_of(
    pickler: Pickler,
    entries: Sequence[SpawnEntry | Startable],
    placement: Placement,
    *,
    numbers_each: int = 1,
) -> SpawnPart:
    """The part of a request for one host. Raises `SpecError` when it cannot be pickled."""
    try:
        packed = pickler.dumps(list(entries))
        code = pickler.dumps(tuple(dict.fromkeys(_classes(entries))))
    except Exception as error:
        raise SpecError(
            f"{_title(entries[0])} cannot be sent to a host: {error!r}.",
            advice="Make its class and constructor arguments picklable: open files, locks and "
            "connections in the constructor or in `started`.",
        ) from error
    return SpawnPart(
        entries=packed,
        code=code,
        count=len(entries),
        numbers_each=numbers_each,
        placement=placement.to_data(),
        host=None if placement.isolated is None else _own_host(entries[0], placement.isolated),
    )


def contracts_of(behaviour: Behaviour) -> tuple[str, ...]:
    """The names of the contracts that an actor handles."""
    return tuple(row.contract.contract_name for row in behaviour.handlers.values())


def raise_first(started: Spawned) -> None:
    """Raise the first failure of a start, if there is one."""
    for data in started.failures.values():
        raise error_from_data(data)


def _title(entry: SpawnEntry | Startable) -> str:
    return entry[0].__qualname__ if isinstance(entry, tuple) else entry.title


def _classes(entries: Sequence[SpawnEntry | Startable]) -> Iterator[type[Actor]]:
    for entry in entries:
        if isinstance(entry, tuple):
            yield entry[0]
        else:
            yield from entry.actors()


def _own_host(entry: SpawnEntry | Startable, resources: Resources) -> dict[str, Any]:
    """The host of an isolated actor, with the name, restart kind and stop timeout of the actor."""
    if isinstance(entry, tuple):
        actor, _, _, given, restart, limit = entry
        name, stop_timeout = given or actor.__name__, limit or STOP_TIMEOUT_DEFAULT
    else:
        name, restart, stop_timeout = entry.host_terms()
    if not stop_timeout.is_brutal:
        # The actor has its own limit; the host is killed a little later.
        stop_timeout = StopTimeout(stop_timeout.seconds + STOP_GRACE_S)
    return HostSpec(
        name[:NAME_CHARS_MAX], resources=resources, restart=restart, stop_timeout=stop_timeout
    ).to_data()
