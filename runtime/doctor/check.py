"""The finding of a check of the machine or the cluster, and what to do about it.

A check is data: a name, a status, a finding, and advice. Invariant: every check that is not `ok`
has advice, because a finding that nobody can act upon is noise.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Check", "Status", "guarded", "worst"]


class Status(StrEnum):
    """The outcome of a check. `warn` works with drawbacks; `fail` needs a repair first."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of `callboard doctor`."""

    name: str
    status: Status
    found: str
    advice: str = ""

    def __post_init__(self) -> None:
        assert self.status is Status.OK or self.advice, f"{self.name}: a finding needs advice"

    def to_data(self) -> dict[str, str]:
        """The check as plain values, for `--json`."""
        return {
            "name": self.name,
            "status": self.status.value,
            "found": self.found,
            "advice": self.advice,
        }


def worst(checks: Iterable[Check]) -> Status:
    """The most serious status among `checks`; `ok` when there are none."""
    found = {check.status for check in checks}
    for status in (Status.FAIL, Status.WARN):
        if status in found:
            return status
    return Status.OK


def guarded(name: str, check: Callable[[], Check]) -> Check:
    """Run `check`. If it raises, the error becomes its finding, and the other checks still run."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 -- a machine can be broken in any way
        return Check(
            name,
            Status.FAIL,
            f"could not be checked: {type(error).__name__}: {error}",
            "Repair what the message names; if it names nothing of yours, report it.",
        )
