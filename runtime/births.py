"""Births as they are shipped: what a driver wants started, pickled for the host that does it."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from callboard.actors.actor import Actor
from callboard.actors.host.warden import Birth
from callboard.actors.tree.spec import TreeSpec
from callboard.messages.errors import SpecError
from callboard.messages.hosts import NAME_CHARS_MAX, HostSpec
from callboard.messages.placement import Placement, Resources
from callboard.messages.ports import Pickler
from callboard.messages.spawning import SpawnPart
from callboard.messages.spec import STOP_TIMEOUT_DEFAULT, StopTimeout

__all__ = ["START_BATCH", "part_of"]

STOP_GRACE_S: Final = 1.0
START_BATCH: Final = 1_000
"""Top-level actors started by one message: decoding and starting overlap."""


def part_of(
    pickler: Pickler,
    births: Sequence[Birth | TreeSpec],
    placement: Placement,
    *,
    numbers_each: int = 1,
) -> SpawnPart:
    """Births that go to one host; raises `SpecError` when they cannot be pickled."""
    try:
        packed = pickler.dumps(list(births))
        code = pickler.dumps(tuple(dict.fromkeys(_classes(births))))
    except Exception as error:
        raise SpecError(
            f"{_title(births[0])} cannot be sent to a host: {error!r}.",
            advice="Its class and constructor arguments must be picklable: open files, locks "
            "and connections are made in the constructor or in `started`.",
        ) from error
    return SpawnPart(
        births=packed,
        code=code,
        count=len(births),
        numbers_each=numbers_each,
        placement=placement.to_data(),
        host=None if placement.isolated is None else _own_host(births[0], placement.isolated),
    )


def _title(birth: Birth | TreeSpec) -> str:
    return birth.name if isinstance(birth, TreeSpec) else birth[0].__qualname__


def _classes(births: Sequence[Birth | TreeSpec]) -> Iterator[type[Actor]]:
    for birth in births:
        if isinstance(birth, TreeSpec):
            for child in birth.children:
                yield from _classes([child]) if isinstance(child, TreeSpec) else [child.actor]
        else:
            yield birth[0]


def _own_host(birth: Birth | TreeSpec, resources: Resources) -> dict[str, Any]:
    """The host of an isolated actor: named, restarted and stopped as the actor itself."""
    if isinstance(birth, TreeSpec):
        name, restart, stop_timeout = birth.name, birth.restart, birth.stop_timeout
    else:
        actor, _, _, given, restart, limit, _ = birth
        name, stop_timeout = given or actor.__name__, limit or STOP_TIMEOUT_DEFAULT
    if not stop_timeout.is_brutal:
        # Its actor keeps to its own limit; the host is killed when it does not come to that.
        stop_timeout = StopTimeout(stop_timeout.seconds + STOP_GRACE_S)
    return HostSpec(
        name[:NAME_CHARS_MAX], resources=resources, restart=restart, stop_timeout=stop_timeout
    ).to_data()
