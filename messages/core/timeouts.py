"""Timeouts: one rule for every wait whose caller says how long it may take."""

from typing import Final

from .errors import UsageError

__all__ = ["TIMEOUT_S_MAX", "checked_timeout"]

TIMEOUT_S_MAX: Final = 1e9
"""About 30 years: a longer timeout is a mistake, and its arithmetic loses milliseconds."""


def checked_timeout(timeout_s: float, name: str = "timeout_s") -> float:
    """The timeout itself. Raises `UsageError` when it is not over 0, or is no number."""
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not is_number or not 0.0 < timeout_s <= TIMEOUT_S_MAX:
        raise UsageError(
            f"{name} is {timeout_s!r}.",
            advice=f"Pass seconds over 0, up to {TIMEOUT_S_MAX:g}: every wait has a deadline.",
        )
    return timeout_s
