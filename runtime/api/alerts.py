"""Alerts of a system: rules from files or from Python, and the actor that evaluates them.

async with callboard.start(metrics="auto", alerts=["rules.yml", "receivers.yml"]) as system:
    await reload_alerts(system, ["rules.yml", "receivers.yml"])
"""

import asyncio
import contextlib
import functools
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from callboard.actors.alerts.actor import AlertManager
from callboard.actors.alerts.files import AlertFiles, read_files
from callboard.actors.alerts.messages import (
    ALERT_MANAGER,
    FILES_MAX,
    AlertsReloaded,
    AlertText,
    ReloadAlerts,
)
from callboard.actors.alerts.rules import check_groups
from callboard.actors.alerts.settings import AlertSettings, alert_settings
from callboard.actors.alerts.window_evaluator import WindowEvaluator
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.props import props
from callboard.actors.metrics.aggregation.reader import AggregatorsReader, SystemReader
from callboard.actors.metrics.aggregation.storage import RemoteStorage
from callboard.actors.metrics.ports import Evaluator, Extent, WindowReader
from callboard.actors.metrics.query.promql.parser import parse
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, SeriesKey
from callboard.messages.control.placement import Placement
from callboard.messages.control.spec import Restart
from callboard.messages.core.errors import NameTaken, UsageError
from callboard.messages.core.ref import Ref

from ..admin.metrics import METRICS_STORE
from ..delivery.targets import make_targets
from ..hosting.settings import Settings
from ..stores.choose import path_of, read_model_store
from ..telemetry.default_rules import default_groups
from .metrics import MEMORY, Starts, SystemMetrics, on_this_machine, open_windows
from .tiers import open_archive

__all__ = [
    "MakeEvaluator",
    "alert_files",
    "alert_texts",
    "check_expression",
    "reload_alerts",
    "reload_request",
    "start_alerts",
    "start_chosen_alerts",
    "windows_of",
]

MakeEvaluator = Callable[[Context], Evaluator]
"""Makes the evaluator on the host of the alert manager; it travels there."""
FILE_BYTES_MAX: Final = 8_000_000
RELOAD_BYTES_MAX: Final = 250_000
"""What is reloaded travels in one request, which has to be answered within seconds."""


class Alerting(Starts, Protocol):
    """What the start of alerts needs of a `System`."""

    @property
    def settings(self) -> Settings:
        """See `System.settings`."""

    @property
    def metrics(self) -> SystemMetrics:
        """See `System.metrics`."""

    async def lookup(self, name: str) -> Ref[Any]:
        """See `System.lookup`."""


def alert_files(paths: Sequence[str | os.PathLike[str]]) -> AlertFiles:
    """Read files of rules, receivers and routes.

    Raises `FilesRefused` with every problem, and `UsageError` for a file that cannot be read.
    """
    return read_files(alert_texts(paths), check_expression)


def alert_texts(paths: Sequence[str | os.PathLike[str]]) -> list[tuple[str, str]]:
    """The paths and the texts of files. Raises `UsageError` for one that cannot be read."""
    return [(os.fspath(path), _text_of(Path(path))) for path in paths]


def check_expression(expression: str) -> None:
    """Raise `UsageError` for an expression that is wrong, or outside the query language."""
    parse(expression)


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise UsageError(
                f"the file {path} has more than {FILE_BYTES_MAX:,} bytes.", advice="Split it."
            )
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the file {path} cannot be read: {error}.", advice="Name a file of text in UTF-8."
        ) from None


async def start_chosen_alerts(system: Alerting, url: str) -> None:
    """Start the alerts that the settings of a system want, over its metrics at `url`.

    When the settings say nothing, these are the rules for Callboard itself, if the metrics
    outlive the system: in memory, states of alerts would end with each restart. Raises what
    `start_alerts` raises.
    """
    said = system.settings.alerts
    if said is False or (said is None and url.startswith(MEMORY)):
        return
    chosen = AlertSettings() if said is None else alert_settings(said)
    files = chosen.files
    if not isinstance(files, AlertFiles):
        files = await asyncio.to_thread(alert_files, files)
    await start_alerts(system, files, store=chosen.store or None, defaults=chosen.defaults)


async def reload_alerts(
    system: Alerting, paths: Sequence[str | os.PathLike[str]], *, timeout_s: float | None = None
) -> AlertsReloaded:
    """Put files of rules, receivers and routes in the place of those until now.

    Alerts keep their states while their rules keep their names and labels. The files count also
    after a restart of the manager, until the system is started again. The rules for Callboard
    itself stay. Raises `FilesRefused` with every problem, and `SpecError` for a wrong receiver:
    then the rules until now go on. Raises `ActorNotFound` when the system has no alerts.
    """
    texts = alert_texts(paths)
    manager = await system.lookup(ALERT_MANAGER)
    return await manager.ask(reload_request(texts), timeout_s=timeout_s)


def reload_request(texts: Sequence[tuple[str, str]]) -> ReloadAlerts:
    """The request for files, under absolute paths. Raises `UsageError` for none, or too much."""
    size_bytes = sum(len(text.encode()) for _, text in texts)
    if not 0 < len(texts) <= FILES_MAX or size_bytes > RELOAD_BYTES_MAX:
        raise UsageError(
            f"{len(texts):,} files with {size_bytes:,} bytes cannot be reloaded.",
            advice=f"Name 1 to {FILES_MAX} files of at most {RELOAD_BYTES_MAX:,} bytes together, "
            "or start the system again with them.",
        )
    files = tuple(AlertText(name=os.path.abspath(name), text=text) for name, text in texts)  # noqa: PTH100
    return ReloadAlerts(files=files)


async def start_alerts(
    system: Alerting,
    files: AlertFiles | None = None,
    *,
    store: str | None = None,
    make_evaluator: MakeEvaluator | None = None,
    host: int | str | None = None,
    defaults: bool = True,
) -> Ref[AlertManager]:
    """Start the alert manager of a system as a supervised actor.

    The setting `alerts` does this; use this function for an evaluator of your own. The manager
    evaluates the rules of `files` and, with `defaults`, those for Callboard itself. `store` is
    the URL of the store that keeps the states of alerts, and silences: by default the store of
    the system's metrics. `make_evaluator` replaces the evaluation over these metrics. Without a
    `host`, the manager runs on the machine of this driver if its store is a file.

    Raises `UsageError` when the system keeps no metrics that it needs, `SpecError` for rules, a
    URL or a receiver that is wrong, `NameTaken` when the system has an alert manager, and
    `ActorStartFailed` when the store refuses to open.
    """
    files = AlertFiles() if files is None else files
    own = default_groups() if defaults else ()
    groups = (*own, *files.groups)
    check_groups(groups, check_expression)
    make_targets(files.plan.receivers)
    url = system.metrics.url if store is None else store
    make_store = functools.partial(read_model_store, url, durability=system.settings.durability)
    make_store()  # Refuse a wrong URL here, not on a host.
    if make_evaluator is None:
        make_evaluator = await windows_of(system, system.metrics)
    placement = Placement(host)
    if host is None and path_of(url) is not None:
        placement = await on_this_machine(system)
    options = {
        "defaults": own,
        "origin": secrets.token_hex(8),
        "names": [os.path.abspath(name) for name in files.names],  # noqa: PTH100
    }
    manager = props(
        AlertManager, files.groups, files.plan, make_store, make_evaluator, make_targets, options
    )
    try:
        ref: Ref[AlertManager] = await system.spawn(
            manager, name=ALERT_MANAGER, placement=placement, restart=Restart.PERMANENT
        )
    except NameTaken as error:
        raise NameTaken(
            "the system has an alert manager already.",
            advice="Name the rules in the setting alerts, or use reload_alerts. With alerts=False "
            "the system starts without one.",
        ) from error
    return ref


async def windows_of(system: Alerting, metrics: SystemMetrics) -> MakeEvaluator:
    """The evaluation over all windows of a system, as `SystemMetrics.reader` has them.

    It works on any of its hosts; windows that have left a store in a file are only read on the
    machine of the file.
    """
    is_remote = isinstance(metrics.storage, RemoteStorage)
    store = await system.lookup(METRICS_STORE) if is_remote else None
    return functools.partial(_over_windows, store, metrics.url, metrics.shards)


def _over_windows(store: Ref[Any] | None, url: str, shards: int, ctx: Context) -> WindowEvaluator:
    newest = AggregatorsReader(ctx.ask, shards)
    path = path_of(url)
    stored: list[WindowReader] = [] if store is None else [RemoteStorage(store)]
    if store is None or (path is not None and path.exists()):
        opened = _OpenedAtFirstUse(
            functools.partial(open_windows if store is None else open_archive, url)
        )
        return WindowEvaluator(SystemReader(newest, *stored, opened), opened.close)
    return WindowEvaluator(SystemReader(newest, *stored))


class _OpenedAtFirstUse:
    """Stored windows, whose store may be away when the alert manager starts."""

    def __init__(
        self, opens: Callable[[], contextlib.AbstractAsyncContextManager[WindowReader]]
    ) -> None:
        self._opens: Final = opens
        self._opening: Final = asyncio.Lock()
        self._exits: Final = contextlib.AsyncExitStack()
        self._reader: WindowReader | None = None

    async def _opened(self) -> WindowReader:
        async with self._opening:
            if self._reader is None:
                self._reader = await self._exits.enter_async_context(self._opens())
        return self._reader

    async def close(self) -> None:
        """Release the connections."""
        await self._exits.aclose()

    async def extents(self) -> Mapping[int, Extent]:
        """See `WindowReader.extents`."""
        return await (await self._opened()).extents()

    async def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `WindowReader.series`."""
        return await (await self._opened()).series(matchers, from_ns, to_ns, limit)

    async def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `WindowReader.windows`."""
        reader = await self._opened()
        return await reader.windows(matchers, width_ns, from_ns, to_ns, limit)
