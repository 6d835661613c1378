"""The shell of the core: evaluates groups at their moments, stores, publishes and notifies.

What the core decides is stored before it leaves: an alert manager that is killed goes on as it
was, and its receivers get no notification twice, but for one whose delivery was not stored yet.
That one has the same key again. When the store fails for longer than `PATIENCE_S`, notifications
leave all the same: somebody should hear of it. They may arrive again after a crash.
"""

import asyncio
import contextlib
import functools
import logging
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError, InternalError
from callboard.messages.storage.errors import (
    CommitUnknown,
    StoreDamaged,
    StoreFull,
    StoreUnavailable,
    WriterFenced,
)
from callboard.messages.storage.stores import ReadModelStore

from ..kernel.inspection.metric_sources import Name, Reading
from ..metrics.ports import Evaluator
from .core import AlertCore
from .delivery import RETRY, Deliveries
from .durations import NS
from .encoding import FILES, ReloadedFiles, Stored
from .evaluation import RULE_S_MAX, RuleEvaluation, next_moment_ns
from .files import AlertFiles, read_files
from .grouping import Outcome
from .health import RuleState
from .messages import AlertsReloaded, AlertsView, alert_view, rule_view, silence_view
from .ports import Closes, Target
from .routing import NotificationPlan, Receiver
from .rules import RuleGroup, check_groups
from .silences import Silence
from .states import AlertState
from .storage import AlertRows
from .table import Change

__all__ = ["AlertRunner", "MakeTargets", "Publish"]

LOGGER: Final = logging.getLogger("callboard.alerts")
Publish = Callable[[Sequence[Change]], None]
MakeTargets = Callable[[Sequence[Receiver]], Mapping[str, Target]]
"""Makes the targets of receivers by their names. Raises `SpecError` for a wrong one."""
TICK_S: Final = 1.0
"""The precision of notifications, and the wait before the store is tried again."""
IDLE_SHARE: Final = 20.0
"""With very many alerts, ticks are rarer: they take at most a twentieth of the time."""
PATIENCE_S: Final = 30.0
SLEEP_S_MAX: Final = 30.0
"""A clock that is set may be noticed this late."""
CLOSE_S_MAX: Final = 4.0
"""How long the last changes may take to be stored."""
READ_SILENCES_S: Final = 10.0
"""How often silences that a command has stored are read."""
ALERTS_SHOWN_MAX: Final = 10_000
UNPUBLISHED_MAX: Final = 10_000
BROKEN: Final = (WriterFenced, StoreDamaged)
TRANSIENT: Final = (StoreUnavailable, StoreFull, CommitUnknown)
"""Failures of a store that are waited out."""
OPEN_RETRY: Final = Backoff(min_s=0.5, max_s=10.0)
SEVERITIES: Final = ("critical", "warning", "info")


class AlertRunner:
    """Evaluates rules until it is closed. Belongs to one event loop.

    `publish` is called with the changes of alerts. `on_broken` is called once when the runner
    must end: another incarnation has taken the alerts over, or the store is damaged. `defaults`
    are groups that `reload` keeps. `names` are the files that the other groups come from. What was
    reloaded counts again for a runner of the same `origin`.
    """

    def __init__(
        self,
        groups: Sequence[RuleGroup],
        plan: NotificationPlan,
        *,
        store: ReadModelStore,
        evaluator: Evaluator,
        make_targets: MakeTargets,
        owner: str,
        defaults: Sequence[RuleGroup] = (),
        origin: str = "",
        names: Sequence[str] = (),
        fence: int = 0,
        publish: Publish | None = None,
        on_broken: Callable[[CallboardError], None] | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        retry: Backoff = RETRY,
        rule_s_max: float = RULE_S_MAX,
    ) -> None:
        self._defaults: Final = tuple(defaults)
        self._groups = (*self._defaults, *groups)
        self._plan = plan
        self._make_targets: Final = make_targets
        self._origin: Final = origin
        self._names: Final = tuple(names)
        self._rows: Final = AlertRows(store, fence=fence, name=owner)
        self._evaluator: Final = evaluator
        self._evaluation: Final = RuleEvaluation(evaluator, rule_s_max=rule_s_max)
        self._publish: Final = publish
        self._on_broken: Final = on_broken
        self._now_ns: Final = now_ns
        self._deliveries: Final = Deliveries(
            make_targets(plan.receivers),
            self._settle,
            random.Random(owner),  # noqa: S311 - no secret
            retry=retry,
        )
        self.core = AlertCore(self._groups, plan)
        self._news: list[Change] = []
        self._wake: Final = asyncio.Event()
        self._stored: Final = asyncio.Condition()
        self._tasks: dict[str, tuple[RuleGroup, asyncio.Task[None]]] = {}
        """For each group what evaluates it."""
        self._reloading: Final = asyncio.Lock()
        self._main: asyncio.Task[None] | None = None
        self._store_failures = self._missed = self._unstored = 0
        self._failing_since_s: float | None = None
        self._silences_read_s = 0.0
        self._writing: frozenset[str] = frozenset()
        """The rows that are being stored."""
        self._is_open = self._is_closing = False

    async def start(self) -> None:
        """Read the stored alerts, and begin.

        While the store is away, this is tried again in the background: a manager that comes back
        with its host must not be lost because the store comes back later. Raises `WriterFenced`,
        and what else the store raises.
        """
        stored = await self._opened()
        if stored is None:
            self._main = asyncio.ensure_future(self._guarded(self._wait_for_store))
        else:
            await self._begin(stored)
            self._main = asyncio.ensure_future(self._guarded(self._run))

    async def _opened(self) -> list[Stored] | None:
        try:
            return await self._rows.open()
        except TRANSIENT as error:
            if not self._store_failures:
                LOGGER.warning("the stored alerts cannot be read, and are tried again: %s", error)
            self._store_failures += 1
            return None

    async def _wait_for_store(self) -> None:
        while not self._is_closing:
            await asyncio.sleep(OPEN_RETRY.delay_s(self._store_failures))
            stored = await self._opened()
            if stored is not None:
                await self._begin(stored)
                await self._run()

    async def _begin(self, stored: list[Stored]) -> None:
        await self._use_reloaded(stored)
        now_ns = self._now_ns()
        self.core = AlertCore(self._groups, self._plan, stored)
        self.core.counts["rows_damaged"] = self._rows.damaged
        self.core.begin(now_ns)
        self._silences_read_s = self._loop_s()
        if self.core.files is not None and self.core.files.origin != self._origin:
            self.core.files = None  # A later start has brought its own.
        self._is_open = True
        self._evaluate_groups()

    async def _use_reloaded(self, stored: list[Stored]) -> None:
        """Take the files that were reloaded since the start, if there are any."""
        for row in stored:
            if isinstance(row, ReloadedFiles) and row.origin == self._origin:
                try:
                    self._use(await self._read(row.files))
                except CallboardError as error:  # Another release has stored them.
                    LOGGER.warning("the reloaded rules are not used, but those before: %s", error)

    async def _read(self, files: Sequence[tuple[str, str]]) -> AlertFiles:
        """What files say. Raises `FilesRefused`, `SpecError`."""
        # In a thread: a large file takes seconds.
        made = await asyncio.to_thread(read_files, files, self._evaluator.check)
        check_groups((*self._defaults, *made.groups))
        return made

    def _use(self, files: AlertFiles) -> None:
        """Evaluate and notify by these files. Raises `SpecError`, and nothing has changed."""
        self._deliveries.use(self._make_targets(files.plan.receivers))
        self._groups, self._plan = (*self._defaults, *files.groups), files.plan

    def _evaluate_groups(self) -> None:
        """Begin with new groups, and end those that are gone; the same ones go on."""
        wanted = {group.name: group for group in self._groups}
        for name, (group, task) in list(self._tasks.items()):
            if wanted.get(name) != group:
                task.cancel()
                del self._tasks[name]
        for name, group in wanted.items():
            if name not in self._tasks:
                work = self._guarded(functools.partial(self._evaluate, group))
                self._tasks[name] = (group, asyncio.ensure_future(work))

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do a part of the work; what it raises ends the runner, and never stays unnoticed."""
        try:
            await work()
        except CallboardError as error:
            self._break(error)
        except Exception as error:
            LOGGER.exception("the alert manager has a defect")
            self._break(InternalError(f"the alert manager has failed: {error!r}"))

    def _break(self, error: CallboardError) -> None:
        LOGGER.error("the alert manager ends: %s", error)
        for _, task in self._tasks.values():
            task.cancel()
        self._deliveries.update(())
        if self._on_broken is not None:
            self._on_broken(error)

    def _loop_s(self) -> float:
        return asyncio.get_running_loop().time()

    # --- evaluating --------------------------------------------------------------------------

    async def _evaluate(self, group: RuleGroup) -> None:
        """Evaluate a group at each of its moments; moments that are over are missed."""
        due_ns = next_moment_ns(group.interval_ns, self._now_ns())
        while True:
            now_ns = self._now_ns()
            if now_ns < due_ns - group.interval_ns:  # The clock was set back.
                due_ns = next_moment_ns(group.interval_ns, now_ns)
            if now_ns < due_ns:
                await asyncio.sleep(min((due_ns - now_ns) / NS, SLEEP_S_MAX))
                continue
            late = (now_ns - due_ns) // group.interval_ns
            self._missed += late
            due_ns += late * group.interval_ns
            firing = frozenset(
                alert.rule
                for alert in self.core.table.alerts.values()
                if alert.state is AlertState.FIRING
            )
            results = await self._evaluation.group(group, due_ns, firing)
            self.core.evaluated(group, results, due_ns)
            for health in self.core.table.take_unwell():
                LOGGER.warning(
                    "the rule %s of the group %s %s",
                    health.name,
                    health.group,
                    f"cannot be evaluated: {health.problem}"
                    if health.state is RuleState.FAILED
                    else f"has no data: there is no metric {', '.join(health.missing)}",
                )
            self._wake.set()
            due_ns += group.interval_ns

    # --- storing, publishing, notifying --------------------------------------------------------

    async def _run(self) -> None:
        pause_s = TICK_S
        while not self._is_closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            self._wake.clear()
            began_s = self._loop_s()
            self.core.advance(self._now_ns())
            pause_s = max(TICK_S, IDLE_SHARE * (self._loop_s() - began_s))
            await self._turn()

    async def _turn(self) -> None:
        """Store what has changed, and let out what is stored. Raises what ends this writer."""
        self._news += self.core.take_news()
        self._news = self._news[-UNPUBLISHED_MAX:]
        try:
            await self._read_silences()
            is_stored = await self._save()
        except BROKEN:
            raise
        except CallboardError as error:
            is_stored = False
            self._store_failures += 1
            if self._failing_since_s is None:
                self._failing_since_s = self._loop_s()
                LOGGER.warning("alerts cannot be stored, and are tried again: %s", error)
        if is_stored:
            self._failing_since_s = None
            self._let_out()
        elif self._failing_since_s is not None and (
            self._loop_s() - self._failing_since_s > PATIENCE_S
        ):
            self._unstored += 1
            self._let_out()

    async def _read_silences(self) -> None:
        """Read silences that somebody else has stored, now and then."""
        if self._loop_s() - self._silences_read_s < READ_SILENCES_S:
            return
        silences = await self._rows.silences_if_changed()
        self._silences_read_s = self._loop_s()
        if silences is not None:
            self.core.replace_silences(silences)
            self.core.advance(self._now_ns())

    async def _save(self) -> bool:
        changes = self.core.changes()
        if not changes:
            return True
        self._writing = frozenset(changes)
        silences: list[Silence] | None = []
        try:
            silences = await self._rows.write(changes)
        finally:
            self._writing = frozenset()
            if silences is not None:
                self.core.not_stored(changes)
        if silences is not None:
            self.core.replace_silences(silences)
        if self.core.has_changes:
            self._wake.set()
        async with self._stored:
            self._stored.notify_all()
        return silences is None

    def _let_out(self) -> None:
        if self._is_closing:
            return
        news, self._news = self._news, []
        if news and self._publish is not None:
            self._publish(news)
        self._deliveries.update(self.core.outbox)

    def _settle(self, key: str, outcome: Outcome) -> None:
        self.core.settle(key, outcome)
        self._wake.set()

    # --- silences and views ----------------------------------------------------------------------

    async def silence(self, made: Silence) -> None:
        """Add a silence, and wait until it is stored. Raises `UsageError`, `StoreUnavailable`."""
        self._check_open()
        self.core.silence(made)
        await self._until_stored(f"silence/{made.id}")

    async def end_silence(self, name: str) -> bool:
        """End a silence, and wait until that is stored; False when there is none."""
        self._check_open()
        if not self.core.end_silence(name, self._now_ns()):
            return False
        await self._until_stored(f"silence/{name}")
        return True

    async def reload(self, files: Sequence[tuple[str, str]]) -> AlertsReloaded:
        """Put files, each a name and a text, in the place of those until now; wait until stored.

        Alerts, groups of notifications and silences stay; alerts whose rule is gone resolve.
        Raises `FilesRefused` with every problem, and `SpecError`; then nothing has changed.
        """
        self._check_open()
        async with self._reloading:
            self._use(await self._read(files))
            self.core = self.core.renewed(self._groups, self._plan)
            self.core.files = ReloadedFiles(self._origin, tuple(files))
            self.core.begin(self._now_ns())
            self._evaluate_groups()
        LOGGER.info("the rules of alerts have been reloaded from %d files", len(files))
        await self._until_stored(FILES)
        rules = sum(len(group.rules) for group in self._groups)
        return AlertsReloaded(rules=rules, receivers=len(self._plan.receivers))

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailable(
                "the alert manager has not read its store yet: the store does not answer.",
                advice="Try again when the store is back.",
            )

    async def _until_stored(self, key: str) -> None:
        self._wake.set()
        async with self._stored:
            await self._stored.wait_for(
                lambda: not (self.core.has_change(key) or key in self._writing)
            )

    def view(self) -> AlertsView:
        """Everything, for people: alerts that fire first."""
        now_ns = self._now_ns()
        files = self.core.files
        order = {AlertState.FIRING: 0, AlertState.PENDING: 1, AlertState.RESOLVED: 2}
        views = sorted(
            self.core.views(now_ns),
            key=lambda view: (order[view.alert.state], view.alert.labels),
        )
        return AlertsView(
            at=now_ns / NS,
            alerts=tuple(map(alert_view, views[:ALERTS_SHOWN_MAX])),
            rules=tuple(map(rule_view, self.core.table.rules_now())),
            silences=tuple(silence_view(each, now_ns) for each in self.core.silences.values()),
            undelivered=sum(1 for _ in self.core.outbox),
            counts=self._counts(),
            left_off=max(0, len(views) - ALERTS_SHOWN_MAX),
            files=self._names if files is None else tuple(name for name, _ in files.files),
        )

    def _counts(self) -> dict[str, int]:
        return {
            **self.core.counts,
            "moments_missed": self._missed,
            "store_failures": self._store_failures,
            "unstored": self._unstored,
            "attempts_failed": self._deliveries.attempts_failed,
        }

    def reading(self) -> Reading:
        """The figures as metrics of the host; `names.py` describes each."""
        counts = self._counts()
        table = self.core.table
        firing = [a for a in table.alerts.values() if a.state is AlertState.FIRING]
        by_severity = {
            severity: sum(1 for alert in firing if alert.severity == severity)
            for severity in SEVERITIES
        }
        by_severity["other"] = len(firing) - sum(by_severity.values())
        states = [health.state for health in table.health.values()]
        gauges: dict[Name, float] = {
            Name("callboard_alerts_firing", severity): count
            for severity, count in by_severity.items()
        }
        gauges[Name("callboard_alerts_rules_failing")] = states.count(RuleState.FAILED)
        gauges[Name("callboard_alerts_rules_without_data")] = states.count(RuleState.NO_DATA)
        gauges[Name("callboard_alerts_undelivered")] = sum(1 for _ in self.core.outbox)
        return Reading(
            {
                Name("callboard_alerts_evaluations"): counts.get("evaluations", 0),
                Name("callboard_alerts_evaluation_failures"): counts.get("failures", 0),
                Name("callboard_alerts_evaluations_missed"): counts["moments_missed"],
                Name("callboard_alerts_notifications", "delivered"): counts.get("delivered", 0),
                Name("callboard_alerts_notifications", "given_up"): counts.get("given_up", 0),
                Name("callboard_alerts_notifications", "withdrawn"): counts.get("withdrawn", 0),
                Name("callboard_alerts_attempts_failed"): counts["attempts_failed"],
                Name("callboard_alerts_muted", "silenced"): counts.get("silenced", 0),
                Name("callboard_alerts_muted", "inhibited"): counts.get("inhibited", 0),
                Name("callboard_alerts_store_failures"): counts["store_failures"],
            },
            gauges,
        )

    async def close(self) -> None:
        """Store what has changed, and stop. Raises nothing."""
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        self._is_closing = True
        self._wake.set()
        if self._main is not None:
            await asyncio.wait((self._main,), timeout=CLOSE_S_MAX if self._is_open else 0.0)
            self._main.cancel()
            await asyncio.wait((self._main, *tasks))
        await self._deliveries.close()
        await self._rows.close()
        if isinstance(self._evaluator, Closes):
            await self._evaluator.close()
