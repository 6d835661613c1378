"""What is known of a rule: whether it evaluates, and whether its metrics exist."""

import enum
from dataclasses import dataclass

__all__ = ["RuleHealth", "RuleState"]


@enum.unique
class RuleState(enum.StrEnum):
    """How the newest evaluation of a rule ended."""

    UNKNOWN = "unknown"
    """It was not evaluated yet."""
    OK = "ok"
    NO_DATA = "no_data"
    """It gave no sample, and a metric that it names does not exist."""
    FAILED = "failed"
    """It could not be evaluated: its alerts stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleHealth:
    """One rule, as it is now."""

    id: str
    group: str
    name: str
    expression: str
    state: RuleState
    problem: str = ""
    """Why it has failed."""
    since_ns: int = 0
    """Since when it is in this state."""
    missing: tuple[str, ...] = ()
    """The metrics that do not exist."""
