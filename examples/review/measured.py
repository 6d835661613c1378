"""What the agents did, from the stored windows of the system's metrics; and which alerts fire."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from callboard.alerts import ALERT_MANAGER, QueryAlerts
from callboard.metrics import MetricsQuery, function_named

if TYPE_CHECKING:
    from callboard import System

__all__ = ["Measured", "StepTimes", "measured_in"]

METRIC: Final = "callboard_subtask_seconds"
"""Callboard itself records it: what each sub-task took, from its sending to its result."""
DAY_NS: Final = 86_400 * 10**9
FUNCTIONS: Final = ("count", "p50", "p95", "p99")


@dataclass(frozen=True, slots=True)
class StepTimes:
    """How often agents did one kind of sub-task, and how long it took them, in seconds."""

    step: str
    count: int
    p50_s: float
    p95_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The times of all kinds of sub-tasks, and the store of the windows."""

    steps: tuple[StepTimes, ...]
    url: str
    rules: int = 0
    """The rules of alerts that watched the system."""
    firing: tuple[str, ...] = ()
    """The alerts that fire at the end."""

    def print_to(self, console: Console) -> None:
        """Print a table, where the windows are, and the alerts."""
        if not self.steps:
            return
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("Sub-tasks of the last day")
        for name in ("count", "p50", "p95", "p99"):
            table.add_column(name, justify="right")
        for each in self.steps:
            times = (f"{seconds:,.3f} s" for seconds in (each.p50_s, each.p95_s, each.p99_s))
            table.add_row(Text(each.step), f"{each.count:,}", *times)
        console.print(table)
        if self.url != "memory:":
            console.print(
                Text.assemble(
                    "  ", (self.url, "underline"), ": read on by `callboard metrics query`"
                ),
                soft_wrap=True,
            )
        if self.rules:
            alerts = ", ".join(self.firing) or "none"
            console.print(
                f"  {self.rules} rules watched the system; alerts that fire: {alerts} "
                "(`callboard alerts`)",
                markup=False,
                highlight=False,
            )


async def measured_in(system: "System") -> Measured:
    """The times of the sub-tasks of the last day, the longest kind first."""
    await system.metrics.flush()
    now_ns = time.time_ns()
    found: dict[str, list[float]] = {}
    for function in FUNCTIONS:
        result = await system.metrics.query(
            MetricsQuery(
                name=METRIC,
                from_ns=now_ns - DAY_NS,
                to_ns=now_ns + 1,
                step_ns=DAY_NS,
                function=function_named(function),
                by=("step",),
            )
        )
        for series, total in zip(result.series, result.totals.tolist(), strict=True):
            found.setdefault(dict(series.tags).get("step", ""), []).append(total)
    steps = [StepTimes(step, int(count), *rest) for step, (count, *rest) in found.items()]
    manager = await system.lookup(ALERT_MANAGER)
    view = await manager.ask(QueryAlerts())
    firing = tuple(alert.name for alert in view.alerts if alert.state == "firing")
    ranked = tuple(sorted(steps, key=lambda each: -each.p50_s))
    return Measured(ranked, system.metrics.url, len(view.rules), firing)
