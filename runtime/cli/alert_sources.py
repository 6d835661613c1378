"""Where the commands find alerts: in running systems, or in a store."""

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from callboard.actors.alerts.core import AlertCore
from callboard.actors.alerts.durations import NS
from callboard.actors.alerts.encoding import MODEL, Stored, encode, key_of
from callboard.actors.alerts.grouping import AlertGroup
from callboard.actors.alerts.health import RuleHealth
from callboard.actors.alerts.messages import (
    AlertsView,
    QueryAlerts,
    alert_view,
    rule_view,
    silence_view,
)
from callboard.actors.alerts.routing import NotificationPlan
from callboard.actors.alerts.silences import SILENCES_MAX, Silence
from callboard.actors.alerts.storage import read_rows
from callboard.messages.core.errors import UsageError
from callboard.messages.storage.errors import StoreUnavailable
from callboard.messages.storage.stores import ReadModelStore

from ..executions.journals import home
from ..stores.choose import path_of, read_model_store
from .sources import Place, Source, query_all, server

__all__ = ["Found", "change_silences", "finding", "only_one", "opened"]

TRIES_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Found:
    """The alerts of one system, or of a store."""

    where: str
    view: AlertsView
    source: Source | None = None
    """The system that answered; None for a store."""
    url: str = ""
    """The store."""


@contextlib.asynccontextmanager
async def finding(
    url: str | None, place: Place, *, takes_store: bool = True
) -> AsyncIterator[list[Found]]:
    """The alerts of the named store; or of the running systems; or else of the newest store.

    The systems can be asked until the end of `async with`. Raises `UsageError` when there are no
    alerts.
    """
    if url is not None:
        yield [_in_store(url)]
        return
    async with place.sources() as sources:
        listed = list(sources())
        by_pid = {(source.pid, source.name): source for source in listed}
        answers = await query_all(listed, QueryAlerts())
        found = [
            Found(answer.source, answer.view, by_pid[answer.pid, answer.name])
            for answer in answers
            if answer.view is not None
        ]
        if not found:
            is_here = place == Place() and server() is None
            newest = _newest_store() if is_here and takes_store else None
            if newest is None:
                problems = [f"{each.source} {each.problem}" for each in answers]
                raise _nothing(place, problems, takes_store=takes_store)
            found = [_in_store(newest)]
        yield found


def _nothing(place: Place, problems: list[str], *, takes_store: bool) -> UsageError:
    advice = "A system has alerts with metrics in a file or on a server, or by the setting alerts."
    if problems:
        return UsageError(f"no system has alerts: {'; '.join(problems)}", advice=advice)
    if place != Place():
        return UsageError(place.nothing_runs.message, advice=place.nothing_runs.advice)
    if not takes_store:
        return UsageError("no system that runs here has alerts.", advice=advice)
    return UsageError(
        "no system that runs here has alerts, and no store was found.",
        advice=f"Name a store: --store URL. {advice}",
    )


def _newest_store() -> str | None:
    """The file that was written last; its log is written first."""

    def changed_at(path: Path) -> float:
        times = [0.0]
        for each in (path, path.with_name(path.name + "-wal")):
            with contextlib.suppress(OSError):
                times.append(each.stat().st_mtime)
        return max(times)

    files = (home(os.environ) / "journals").glob("*.db.metrics")
    newest = max(files, key=changed_at, default=None)
    return None if newest is None else str(newest)


def only_one(found: list[Found], advice: str) -> Found:
    """The one that a command is about. Raises `UsageError`, with the advice, for more."""
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"{len(found)} systems have alerts: {', '.join(each.where for each in found)}.",
        advice=advice,
    )


# --- a store ------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(url: str) -> Iterator[ReadModelStore]:
    """The store at a URL. Raises `UsageError` for a file that does not exist."""
    path = path_of(url)
    if path is not None and not path.is_file():
        raise UsageError(f"the file {path} does not exist.", advice="Name an existing store.")
    store = read_model_store(url)
    try:
        store.open()
        yield store
    finally:
        store.close()


def _in_store(url: str) -> Found:
    with opened(url) as store:
        rows, _ = read_rows(store)
    return Found(f"store {url}", _view_of(rows, time.time_ns()), url=url)


def _view_of(rows: Iterable[Stored], now_ns: int) -> AlertsView:
    """What rows say; nobody knows the inhibitions, which are in the files of the system."""
    rows = list(rows)
    core = AlertCore((), NotificationPlan(), rows)
    views = core.views(now_ns)
    return AlertsView(
        at=now_ns / NS,
        alerts=tuple(map(alert_view, views)),
        rules=tuple(rule_view(row) for row in rows if isinstance(row, RuleHealth)),
        silences=tuple(silence_view(each, now_ns) for each in core.silences.values()),
        undelivered=sum(1 for row in rows if isinstance(row, AlertGroup) and row.open is not None),
    )


def change_silences(url: str, change: Callable[[dict[str, Silence]], Iterable[Silence]]) -> None:
    """Store silences that `change` makes of those that are there.

    A running manager notices it within seconds. Raises `UsageError` for too many silences.
    """
    with opened(url) as store:
        for _ in range(TRIES_MAX):
            position = store.position(MODEL)
            rows, _ = read_rows(store, "silence/")
            silences = {row.id: row for row in rows if isinstance(row, Silence)}
            changed = list(change(silences))
            if len(silences.keys() | {each.id for each in changed}) > SILENCES_MAX:
                raise UsageError(f"there are {SILENCES_MAX:,} silences.", advice="End some.")
            data = {key_of(each): encode(each) for each in changed}
            if store.apply(MODEL, position, position + 1, data):
                return
    raise StoreUnavailable("others changed the alerts again and again.", advice="Try again.")
