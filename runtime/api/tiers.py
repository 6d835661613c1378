"""The tiers of metrics by the URLs of their stores: to move windows, and to read what has moved.

await start_tiers(system, "metrics.db", "s3://bucket/metrics")

async with open_archive("metrics.db", "s3://bucket/metrics") as archive:
    reader = CombinedReader([hot, archive])
"""

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from callboard.actors.kernel.props import props
from callboard.actors.kernel.spawnable import Spawnable
from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.actors.metrics.tiers.core import PlanLimits
from callboard.actors.metrics.tiers.reader import SegmentReader
from callboard.actors.metrics.tiers.rules import DEFAULT_RULES
from callboard.actors.metrics.tiers.tiers import MetricTiers
from callboard.actors.metrics.tiers.worker import TierActor, TierTimes
from callboard.actors.storage.core import MoveLimits
from callboard.actors.storage.lifecycle import SEGMENTS, LifecycleRule
from callboard.actors.trees.spec import ActorSpec
from callboard.messages.control.placement import Placement
from callboard.messages.control.spec import Restart
from callboard.messages.core.ref import Ref

from ..objects.choose import LazyWindows, ObjectStores, location_of, window_format
from ..stores.tiered import tiered_stores

__all__ = ["open_archive", "open_tiers", "start_tiers", "tiers_spec"]

NAME = "metric-tiers"


def open_tiers(
    store: str,
    objects: str = "",
    *,
    rules: Sequence[LifecycleRule] = DEFAULT_RULES,
    fence: int = 0,
    durability: str = "full",
    options: dict[str, Any] | None = None,
    plan_limits: PlanLimits | None = None,
    move_limits: MoveLimits | None = None,
) -> MetricTiers:
    """The tiers of a metrics store, not yet opened.

    `store` is the URL of the hot store. `objects` is the URL of the object store for segments: a
    folder, `s3://bucket/prefix`, and so on, with `options` of the package obstore. Without one the
    windows stay in the hot store until they expire. A rule may name another location by a URL.

    Raises `SpecError` for wrong URLs and rules, and without the extra `data` when `objects` is
    given.
    """
    hot, catalogue = tiered_stores(store, durability=durability)
    rules = _placed(rules, objects)
    form = LazyWindows()
    if objects:
        window_format().close()  # Refuse a missing extra here, not in a round.
    locations = sorted({rule.location for rule in rules} - {""})
    stores = ObjectStores(locations, durability=durability, **(options or {}))
    return MetricTiers(
        hot,
        catalogue,
        stores,
        form,
        rules=rules,
        fence=fence,
        plan_limits=plan_limits,
        move_limits=move_limits,
    )


def _placed(rules: Sequence[LifecycleRule], objects: str) -> list[LifecycleRule]:
    """The rules with URLs as locations, so that a catalogue says where its segments are."""
    default = location_of(objects) if objects else ""
    return [
        dataclasses.replace(
            rule,
            location=default
            if not objects or rule.location == SEGMENTS
            else location_of(rule.location),
        )
        for rule in rules
    ]


@contextlib.asynccontextmanager
async def open_archive(
    store: str,
    *,
    widths_ns: Sequence[int] = WINDOWS_NS,
    options: dict[str, Any] | None = None,
) -> AsyncIterator[SegmentReader]:
    """A reader of the windows that have left a metrics store; the end of `async with` closes it.

    The catalogue in the store says where their segments are. The reader changes nothing, and needs
    no running system. Put it last in a `CombinedReader`. Raises `SpecError`, and the errors of the
    store when it does not open; a query raises `SpecError` when it needs the extra `data`.
    """
    _, catalogue = tiered_stores(store, reads_only=True)
    stores, form = ObjectStores(durability="off", **(options or {})), LazyWindows()
    reader = SegmentReader(catalogue, stores, form, widths_ns=widths_ns)
    try:
        await asyncio.to_thread(catalogue.open)
        yield reader
    finally:
        await reader.close()
        form.close()
        stores.close()
        catalogue.close()


class Starts(Protocol):
    """What the start of the tiers needs of a `System`."""

    async def spawn(
        self,
        actor: Spawnable[Any],
        *,
        name: str | None = None,
        placement: Placement | None = None,
        restart: Restart = Restart.TRANSIENT,
    ) -> Ref[Any]:
        """See `System.spawn`."""


async def start_tiers(
    system: Starts,
    store: str,
    objects: str = "",
    *,
    rules: Sequence[LifecycleRule] = DEFAULT_RULES,
    times: TierTimes | None = None,
    durability: str = "full",
    options: dict[str, Any] | None = None,
    name: str = NAME,
    placement: Placement | None = None,
) -> Ref[Any]:
    """Start the tiers of a metrics store as a supervised actor; see `tiers_spec`.

    It answers `QueryTiers` and `RunTiers`. Raises `SpecError`, `NameTaken`, and `ActorStartFailed`
    when a store does not open.
    """
    spec = tiers_spec(
        store, objects, rules=rules, times=times, durability=durability, options=options, name=name
    )
    return await system.spawn(spec.actor, name=name, placement=placement, restart=Restart.TRANSIENT)


def tiers_spec(
    store: str,
    objects: str = "",
    *,
    rules: Sequence[LifecycleRule] = DEFAULT_RULES,
    times: TierTimes | None = None,
    durability: str = "full",
    options: dict[str, Any] | None = None,
    name: str = NAME,
    placement: Placement | None = None,
) -> ActorSpec:
    """The tiers of a metrics store as a child of a supervision tree; see `open_tiers`.

    An SQLite file needs a host on its machine. Start one for each metrics store, and none for the
    setting `metrics` of a system, which has it. A second one takes the moves over, and the first
    one ends.
    """
    open_tiers(store, objects, rules=rules, durability=durability, options=options)
    make = functools.partial(_made, store, objects, tuple(rules), durability, options)
    # One that was replaced by a second one ends in order, and is not to come back.
    return ActorSpec(
        name, props(TierActor, make, times), restart=Restart.TRANSIENT, placement=placement
    )


def _made(
    store: str,
    objects: str,
    rules: tuple[LifecycleRule, ...],
    durability: str,
    options: dict[str, Any] | None,
    fence: int,
) -> MetricTiers:
    return open_tiers(
        store, objects, rules=rules, durability=durability, options=options, fence=fence
    )
