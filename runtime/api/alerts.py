"""Alerts of a system: rules from files or from Python, and the actor that evaluates them.

async with callboard.start(metrics="auto") as system:
    await start_alerts(system, alert_files(["rules.yml", "receivers.yml"]))
"""

import asyncio
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from callboard.actors.alerts.actor import AlertManager
from callboard.actors.alerts.default_rules import default_groups
from callboard.actors.alerts.files import AlertFiles, read_files
from callboard.actors.alerts.messages import ALERT_MANAGER
from callboard.actors.alerts.rules import check_groups
from callboard.actors.alerts.window_evaluator import WindowEvaluator
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.props import props
from callboard.actors.metrics.aggregation.reader import AggregatorsReader, SystemReader
from callboard.actors.metrics.aggregation.storage import RemoteStorage, ThreadStorage
from callboard.actors.metrics.ports import Evaluator, Extent
from callboard.actors.metrics.query.promql.parser import parse
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, SeriesKey
from callboard.messages.control.placement import Placement
from callboard.messages.control.spec import Restart
from callboard.messages.core.errors import UsageError
from callboard.messages.core.ref import Ref

from ..admin.metrics import METRICS_STORE
from ..delivery.targets import make_targets
from ..hosting.settings import Settings
from ..stores.choose import metrics_storage, path_of, read_model_store
from .metrics import Starts, SystemMetrics, on_this_machine

__all__ = ["MakeEvaluator", "alert_files", "start_alerts", "windows_of"]

MakeEvaluator = Callable[[Context], Evaluator]
"""Makes the evaluator on the host of the alert manager; it travels there."""
FILE_BYTES_MAX: Final = 8_000_000


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
    return read_files([(os.fspath(path), _text_of(Path(path))) for path in paths], _check)


def _check(expression: str) -> None:
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

    It evaluates the rules of `files` and, with `defaults`, those for Callboard itself. `store` is
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
    check_groups(groups, _check)
    targets = functools.partial(make_targets, files.plan.receivers)
    targets()
    url = system.metrics.url if store is None else store
    make_store = functools.partial(read_model_store, url, durability=system.settings.durability)
    make_store()  # Refuse a wrong URL here, not on a host.
    if make_evaluator is None:
        make_evaluator = await windows_of(system, system.metrics)
    if host is None and path_of(url) is not None:
        placement = await on_this_machine(system)
    else:
        placement = Placement(host)
    manager = props(AlertManager, groups, files.plan, make_store, make_evaluator, targets)
    ref: Ref[AlertManager] = await system.spawn(
        manager, name=ALERT_MANAGER, placement=placement, restart=Restart.PERMANENT
    )
    return ref


async def windows_of(system: Alerting, metrics: SystemMetrics) -> MakeEvaluator:
    """The evaluation over all windows of a system, the newest ones too, from any of its hosts."""
    is_remote = isinstance(metrics.storage, RemoteStorage)
    at = await system.lookup(METRICS_STORE) if is_remote else metrics.url
    return functools.partial(_over_windows, at, metrics.shards)


def _over_windows(store: Ref[Any] | str, shards: int, ctx: Context) -> WindowEvaluator:
    newest = AggregatorsReader(ctx.ask, shards)
    if isinstance(store, Ref):
        return WindowEvaluator(SystemReader(newest, RemoteStorage(store)))
    stored = _OpenedAtFirstUse(store)
    return WindowEvaluator(SystemReader(newest, stored), stored.close)


class _OpenedAtFirstUse:
    """The windows of a server, which may be away when the alert manager starts."""

    def __init__(self, url: str) -> None:
        self._storage: Final = ThreadStorage(metrics_storage(url))
        self._opening: Final = asyncio.Lock()
        self._is_open = False

    async def _opened(self) -> ThreadStorage:
        async with self._opening:
            if not self._is_open:
                await self._storage.open()
                self._is_open = True
        return self._storage

    async def close(self) -> None:
        """Release the connections."""
        await self._storage.close()

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
        storage = await self._opened()
        return await storage.windows(matchers, width_ns, from_ns, to_ns, limit)
