"""Rules as data: which expression makes an alert, for how long, and what the alert says.

A rule is checked when it is made. `SpecError` names all its problems; `details["problems"]` has
them as pairs of a field and a text.
"""

import enum
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from callboard.messages.core.errors import SpecError, UsageError
from callboard.messages.core.names import problem_of, shown

from .durations import nanoseconds
from .templates import template

__all__ = ["NAME_LABEL", "AlertRule", "OnMissing", "RuleGroup", "check_groups", "digest"]

NAME_LABEL: Final = "alertname"
LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
LABELS_MAX: Final = 32
EXPRESSION_CHARACTERS_MAX: Final = 8_192
SECONDS_MAX: Final = 366 * 86_400.0
INTERVAL_S_MIN: Final = 1.0
ALERTS_MAX: Final = 1_000
"""The alerts of one rule, if its group says nothing: with more the rule has failed."""
RULES_MAX: Final = 10_000


@enum.unique
class OnMissing(enum.StrEnum):
    """What becomes of a rule's alerts while its metrics do not exist."""

    RESOLVE = "resolve"
    """They resolve, as in Prometheus: the condition does not hold."""
    KEEP = "keep"
    """They stay as they are: nobody knows."""
    IGNORE = "ignore"
    """They resolve, and the rule is well: not every system has such metrics."""


def digest(*parts: str) -> str:
    """A short, stable name of some texts."""
    made = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        made.update(len(data).to_bytes(4, "big"))
        made.update(data)
    return made.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """One rule. Each sample of its expression is an alert, with the labels of the sample."""

    name: str
    """The label `alertname` of its alerts."""
    expression: str
    """What is evaluated, such as `rate(callboard_dead_letters[5m]) > 1`."""
    for_s: float = 0.0
    """How long the expression must give a sample before its alert fires."""
    keep_firing_for_s: float = 0.0
    """How long an alert goes on firing after the last sample."""
    keep_firing_while: str = ""
    """An alert that fires goes on while this expression gives its sample: a second, lower
    threshold, so that a value near the first one does not fire again and again."""
    on_missing: OnMissing = OnMissing.RESOLVE
    """What becomes of its alerts while its metrics do not exist."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """More labels of its alerts; templates may use `$labels`."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Texts for people; templates may use `$labels` and `$value`."""

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise SpecError(
                f"the rule {shown(self.name)} is wrong: "
                + "; ".join(f"{where}: {text}" for where, text in problems),
                advice="docs/alerts.md describes the fields.",
                problems=problems,
            )
        object.__setattr__(self, "labels", dict(self.labels))
        object.__setattr__(self, "annotations", dict(self.annotations))

    def _problems(self) -> Iterable[tuple[str, str]]:
        missing: Any = self.on_missing
        problem = problem_of(self.name)
        if problem:
            yield "alert", f"its name {shown(self.name)} {problem}"
        for where, text in (
            ("expr", self.expression),
            ("keep_firing_while", self.keep_firing_while),
        ):
            if not isinstance(text, str) or (where == "expr" and not text.strip()):
                yield where, f"{shown(text)} is no expression"
            elif len(text) > EXPRESSION_CHARACTERS_MAX:
                yield where, f"it has {len(text):,} characters of {EXPRESSION_CHARACTERS_MAX:,}"
        for where, seconds in (("for", self.for_s), ("keep_firing_for", self.keep_firing_for_s)):
            if not _is_seconds(seconds):
                yield where, f"{seconds!r} is no number of seconds from 0 to a year"
        if not isinstance(missing, OnMissing):
            yield "on_missing", f"{shown(missing)} is none of resolve, keep, ignore"
        yield from _label_problems("labels", self.labels)
        yield from _text_problems("labels", self.labels, allows_value=False)
        yield from _text_problems("annotations", self.annotations, allows_value=True)

    @property
    def severity(self) -> str:
        """The label `severity`; empty without one."""
        return self.labels.get("severity", "")

    @property
    def for_ns(self) -> int:
        """`for_s` in nanoseconds."""
        return nanoseconds(self.for_s)

    @property
    def keep_ns(self) -> int:
        """`keep_firing_for_s` in nanoseconds."""
        return nanoseconds(self.keep_firing_for_s)


def _is_seconds(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0.0 <= float(value) <= SECONDS_MAX  # type: ignore[arg-type]


def _label_problems(where: str, labels: object) -> Iterable[tuple[str, str]]:
    if not isinstance(labels, Mapping):
        yield where, f"{shown(labels)} is no mapping of names to texts"
        return
    if len(labels) > LABELS_MAX:
        yield where, f"it has {len(labels)} entries of {LABELS_MAX}"
    for name in labels:
        if not isinstance(name, str) or not LABEL_NAME.match(name) or name == "__name__":
            yield where, f"{shown(name)} is no name of a label"
        elif name == NAME_LABEL:
            yield where, f"{NAME_LABEL} is the name of the rule"


def _text_problems(where: str, texts: object, *, allows_value: bool) -> Iterable[tuple[str, str]]:
    if not isinstance(texts, Mapping):
        if where != "labels":
            yield where, f"{shown(texts)} is no mapping of names to texts"
        return
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            yield where, f"{shown(name)} is {shown(text)}, which is no text"
            continue
        try:
            made = template(text)
        except UsageError as error:
            yield where, f"{name}: {error}"
            continue
        if made.has_value and not allows_value:
            yield where, f"{name}: $value would make a new alert of each value; annotate it"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleGroup:
    """Rules that are evaluated together, for the same moment."""

    name: str
    """Its name, which no other group has."""
    rules: tuple[AlertRule, ...]
    """Its rules; no two of them have the same name and labels."""
    interval_s: float = 60.0
    """They are evaluated at whole multiples of this time since 1970."""
    offset_s: float = 0.0
    """They look at the time so long ago: for metrics that come late."""
    limit: int = ALERTS_MAX
    """The most alerts of one rule. With more, the rule has failed, and its alerts stay as they
    are."""
    source: str = ""
    """The file that it comes from."""

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise SpecError(
                f"the group {shown(self.name)} is wrong: "
                + "; ".join(f"{where}: {text}" for where, text in problems),
                problems=problems,
            )

    def _problems(self) -> Iterable[tuple[str, str]]:
        problem = problem_of(self.name)
        if problem:
            yield "name", f"its name {shown(self.name)} {problem}"
        if not _is_seconds(self.interval_s) or self.interval_s < INTERVAL_S_MIN:
            yield "interval", f"{self.interval_s!r} is no number of seconds from 1 to a year"
        if not _is_seconds(self.offset_s):
            yield "query_offset", f"{self.offset_s!r} is no number of seconds from 0 to a year"
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 1:
            yield "limit", f"{self.limit!r} is no whole number from 1 on"
        seen: set[str] = set()
        for rule in self.rules:
            key = self.rule_id(rule)
            if key in seen:
                yield "rules", f"two rules are named {shown(rule.name)} and have the same labels"
            seen.add(key)

    @property
    def interval_ns(self) -> int:
        """The interval in nanoseconds."""
        return nanoseconds(self.interval_s)

    def rule_id(self, rule: AlertRule) -> str:
        """A rule's identity: it keeps its alerts when another expression comes in its place."""
        labels = [part for item in sorted(rule.labels.items()) for part in item]
        return digest(self.name, rule.name, *labels)


def check_groups(groups: Iterable[RuleGroup], check: Callable[[str], None] | None = None) -> None:
    """Raise `SpecError` for names that two groups share, too many rules, or a wrong expression.

    `check` raises a `UsageError` for an expression that is wrong.
    """
    problems: list[str] = []
    names: set[str] = set()
    count = 0
    for group in groups:
        if group.name in names:
            problems.append(f"two groups are named {shown(group.name)}")
        names.add(group.name)
        count += len(group.rules)
        for rule in group.rules if check is not None else ():
            for text in filter(None, (rule.expression, rule.keep_firing_while)):
                try:
                    assert check is not None
                    check(text)
                except UsageError as error:
                    problems.append(f"{group.name}, {rule.name}: {error}")
    if count > RULES_MAX:
        problems.append(f"there are {count:,} rules of at most {RULES_MAX:,}")
    if problems:
        raise SpecError("the rules are wrong: " + "; ".join(problems), problems=problems)
