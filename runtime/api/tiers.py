"""The tiers of metrics by the URLs of their stores: to move windows, and to read what has moved."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NoReturn

from callboard.actors.kernel.props import props
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import SeriesKey
from callboard.actors.metrics.tiers.core import PlanLimits
from callboard.actors.metrics.tiers.ports import WindowFormat
from callboard.actors.metrics.tiers.rules import DEFAULT_RULES
from callboard.actors.metrics.tiers.tiers import MetricTiers
from callboard.actors.metrics.tiers.worker import TierActor, TierTimes
from callboard.actors.storage.core import MoveLimits
from callboard.actors.storage.lifecycle import LifecycleRule
from callboard.actors.storage.objects import ObjectStore
from callboard.actors.trees.spec import ActorSpec
from callboard.messages.control.placement import Placement
from callboard.messages.control.spec import Restart
from callboard.messages.core.errors import SpecError

from ..objects.choose import DATA_EXTRA, object_store, window_format
from ..stores.tiered import tiered_stores

__all__ = ["open_tiers", "tiers_spec"]

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
    form: WindowFormat
    stores: dict[str, ObjectStore] = {}
    if objects:
        form = window_format()
        for location in {rule.location for rule in rules}:
            url = location if ":" in location or "/" in location else objects
            stores[location] = object_store(url, durability=durability, **(options or {}))
    else:
        form = _NoSegments()
        rules = [dataclasses.replace(rule, location="") for rule in rules]
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

    An SQLite file needs a host on its machine. Start one for each metrics store: a second one
    takes the moves over, and the first one ends.
    """
    open_tiers(store, objects, rules=rules, durability=durability, options=options)
    make = functools.partial(_made, store, objects, tuple(rules), durability, options)
    return ActorSpec(
        name, props(TierActor, make, times), restart=Restart.PERMANENT, placement=placement
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


class _NoSegments:
    """A `WindowFormat` of a metrics store without an object store."""

    def write(self, rows: WindowRows, level: int) -> bytes:
        _refuse()

    def count(self, data: bytes) -> int:
        _refuse()

    def series(self, *_arguments: Any) -> set[SeriesKey]:
        _refuse()

    def read(self, *_arguments: Any) -> WindowRows:
        _refuse()

    def close(self) -> None:
        """There is nothing to release."""


def _refuse() -> NoReturn:
    raise SpecError(
        "this metrics store has segments, and no object store is named to read them.",
        advice=f"Give the URL of its objects. {DATA_EXTRA}",
    )
