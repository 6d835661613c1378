"""What the tests of alerts share: rules, times, an evaluator of a table, a receiver that obeys."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from callboard.actors.alerts.core import AlertCore
from callboard.actors.alerts.encoding import Stored, decode
from callboard.actors.alerts.grouping import Notification
from callboard.actors.alerts.matching import Labels
from callboard.actors.alerts.ports import Undelivered
from callboard.actors.alerts.rules import AlertRule, RuleGroup
from callboard.actors.alerts.table import Failed, Found
from callboard.actors.metrics.ports import Sample

S = 1_000_000_000
T0 = 1_800_000_000 * S
"""A whole minute, hour and day."""
DEADLINE_S = 10.0


def rule(name: str = "High", **options: Any) -> AlertRule:
    options.setdefault("expression", "load > 1")
    return AlertRule(name=name, **options)


def group(*rules: AlertRule, name: str = "g", **options: Any) -> RuleGroup:
    return RuleGroup(name=name, rules=rules or (rule(),), **options)


def labels(**pairs: str) -> Labels:
    return tuple(sorted(pairs.items()))


def found(*samples: Labels, value: float = 2.0, **options: Any) -> Found:
    return Found(dict.fromkeys(samples, value), **options)


def evaluate(core: AlertCore, of: RuleGroup, result: Found | Failed, at_s: float) -> None:
    """Every rule of the group gives this result; then notifications are made."""
    now_ns = T0 + round(at_s * S)
    core.evaluated(of, {of.rule_id(each): result for each in of.rules}, now_ns)
    core.advance(now_ns)


def save(core: AlertCore, rows: dict[str, bytes]) -> None:
    """Store what has changed, as a store does."""
    for key, data in core.changes().items():
        if data is None:
            rows.pop(key, None)
        else:
            rows[key] = data


def stored(rows: Mapping[str, bytes]) -> list[Stored]:
    return [decode(key, data) for key, data in rows.items()]


@dataclass
class TableEvaluator:
    """Gives what a table says: samples, an error to raise, or something to await."""

    table: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    absent: tuple[str, ...] = ()

    def check(self, expression: str) -> None:
        """It knows everything."""

    async def instant(self, expression: str, at_ns: int) -> tuple[Sample, ...]:
        self.asked.append((expression, at_ns))
        answer = self.table.get(expression, ())
        if callable(answer):
            answer = answer(at_ns)
        if isinstance(answer, BaseException):
            raise answer
        if asyncio.iscoroutine(answer):
            answer = await answer
        return tuple(answer)

    async def missing(self, expression: str, at_ns: int) -> tuple[str, ...]:
        return self.absent


@dataclass
class Recorder:
    """A receiver that records; `fails` says how the next attempts end."""

    fails: list[BaseException | None] = field(default_factory=list)
    got: list[Notification] = field(default_factory=list)
    attempts: int = 0
    on_got: Callable[[], None] | None = None

    async def deliver(self, notification: Notification) -> None:
        self.attempts += 1
        problem = self.fails.pop(0) if self.fails else None
        if problem is not None:
            raise problem
        self.got.append(notification)
        if self.on_got is not None:
            self.on_got()

    def names(self) -> list[tuple[str, list[str]]]:
        """The states and names of the alerts of each notification."""
        return [
            (
                "firing" if each.is_firing else "resolved",
                sorted(alert.name for alert in each.alerts),
            )
            for each in self.got
        ]


def refused(text: str = "no", *, is_final: bool = False) -> Undelivered:
    return Undelivered(text, is_final=is_final)


def sample(value: float = 2.0, **tags: str) -> Sample:
    return Sample(tuple(sorted(tags.items())), value)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that no event announces."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.002)
