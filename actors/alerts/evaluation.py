"""Evaluates the rules of groups at their moments, with deadlines and bounded concurrency."""

import asyncio
from collections.abc import Iterable
from typing import Final

from callboard.messages.core.errors import CallboardError

from ..kernel.failures import ends_task
from ..metrics.ports import Evaluator, Sample
from .durations import nanoseconds
from .matching import Labels
from .ports import KnowsMissing
from .rules import AlertRule, OnMissing, RuleGroup
from .table import Failed, Found

__all__ = ["AT_ONCE", "RULE_S_MAX", "RuleEvaluation", "next_moment_ns"]

AT_ONCE: Final = 8
"""Rules that are evaluated at the same time, of all groups."""
RULE_S_MAX: Final = 10.0
"""How long one rule may take."""
PROBLEM_CHARACTERS_MAX: Final = 500


def next_moment_ns(interval_ns: int, after_ns: int) -> int:
    """The first whole multiple of the interval after a moment."""
    return (after_ns // interval_ns + 1) * interval_ns


class RuleEvaluation:
    """Evaluates rules by an evaluator of the query language."""

    def __init__(self, evaluator: Evaluator, *, rule_s_max: float = RULE_S_MAX) -> None:
        self._evaluator: Final = evaluator
        self._rule_s_max: Final = rule_s_max
        self._room: Final = asyncio.Semaphore(AT_ONCE)

    async def group(
        self, group: RuleGroup, at_ns: int, firing: frozenset[str]
    ) -> dict[str, Found | Failed]:
        """The results of all rules of a group, by their identities; `firing` are rules that fire.

        A rule that does not answer in time has failed. So has each that did not begin within the
        group's interval, because others took the room.
        """
        at_ns -= nanoseconds(group.offset_s)
        names = [group.rule_id(rule) for rule in group.rules]
        tasks = [
            asyncio.ensure_future(self._rule(rule, at_ns, is_firing=name in firing))
            for rule, name in zip(group.rules, names, strict=True)
        ]
        if not tasks:
            return {}
        try:
            await asyncio.wait(tasks, timeout=max(group.interval_s, self._rule_s_max))
        finally:
            for task in tasks:
                task.cancel()
        late = Failed("it had no turn within the interval of its group: too many rules are slow")
        return {
            name: task.result() if task.done() and not task.cancelled() else late
            for name, task in zip(names, tasks, strict=True)
        }

    async def _rule(self, rule: AlertRule, at_ns: int, *, is_firing: bool) -> Found | Failed:
        async with self._room:
            try:
                async with asyncio.timeout(self._rule_s_max):
                    return await self._evaluated(rule, at_ns, is_firing=is_firing)
            except TimeoutError:
                return Failed(f"it did not answer within {self._rule_s_max:g} s")
            except CallboardError as error:
                return Failed(error.message[:PROBLEM_CHARACTERS_MAX])
            except BaseException as error:
                if ends_task(error):
                    raise
                return Failed(f"{type(error).__name__}: {error}"[:PROBLEM_CHARACTERS_MAX])

    async def _evaluated(self, rule: AlertRule, at_ns: int, *, is_firing: bool) -> Found | Failed:
        evaluator = self._evaluator
        samples: dict[Labels, float] = {}
        for labels, value in _labelled(await evaluator.instant(rule.expression, at_ns)):
            if labels in samples:
                return Failed("it gives two samples with the same labels: aggregate them")
            samples[labels] = value
        kept: frozenset[Labels] = frozenset()
        if rule.keep_firing_while and is_firing:
            found = await evaluator.instant(rule.keep_firing_while, at_ns)
            kept = frozenset(labels for labels, _ in _labelled(found))
        missing: tuple[str, ...] = ()
        asks = not samples and rule.on_missing is not OnMissing.IGNORE
        if asks and isinstance(evaluator, KnowsMissing):
            missing = await evaluator.missing(rule.expression, at_ns)
        return Found(samples, kept, missing)


def _labelled(samples: Iterable[Sample]) -> Iterable[tuple[Labels, float]]:
    for sample in samples:
        yield tuple(sorted(pair for pair in sample.tags if pair[0] != "__name__")), sample.value
