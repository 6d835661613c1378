"""The log lines of a system: from its hosts to the control host, and to those who ask.

A host sends its lines to the control host in small batches. So the control host has the last lines
of a host that has died, as far as they were sent.
"""

from typing import Final

from pydantic import Field

from ..core.contract import Contract, Request

__all__ = ["LEVELS", "LogRow", "LogRows", "LogsPage", "QueryLogs"]

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
"""The levels, the least one first."""
PAGE_MAX: Final = 2_000


class LogRow(Contract, name="callboard.log_row"):
    """One line of a log."""

    host: str
    """The name of the host."""
    path: str
    """The path of the actor whose handler logged it; empty for the host itself."""
    level: str
    """One of `LEVELS`."""
    time: float
    """Seconds since 1970, by the clock of its host."""
    logger: str
    """The name of the logger."""
    text: str
    """The message, then the traceback if there is one."""
    execution: str = ""
    """The id of the execution whose sub-task the handler ran."""
    step: str = ""
    """The sub-task."""

    @property
    def place(self) -> str:
        """The full path, as `callboard tree` shows it."""
        return self.host + self.path


class LogRows(Contract, name="callboard.log_rows"):
    """The next lines of one incarnation of a host."""

    slot: int
    epoch: int
    first: int
    """The number of the first line in its host, from 1: a host sends lines again to a new root."""
    rows: tuple[LogRow, ...]


class LogsPage(Contract, name="callboard.logs_page"):
    """The reply to `QueryLogs`."""

    rows: tuple[LogRow, ...] = ()
    """The lines, by their times."""
    cursor: int = 0
    """The `after` of the next query."""
    dropped: int = 0
    """Lines that no query can get any more: a host, or the control host, had no room for them."""


class QueryLogs(Request[LogsPage], name="callboard.query_logs"):
    """Asks the control host for lines: the newest ones, or with a cursor those that came since."""

    where: str = ""
    """A path, of a host or an actor and all below it, or the beginning of an execution's id."""
    level: str = "debug"
    """Only lines of this level and above."""
    after: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=PAGE_MAX)
