"""The tap of a process: what its loggers make, with the actor and the sub-task it belongs to.

It wraps the factory of log records, and adds no handler: a handler at the root logger would turn
off `logging.basicConfig` and the last resort of the users' programs. A logger that is not enabled
for a level makes no record, so that nothing is spent on it.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol
from urllib.parse import unquote

from callboard.actors.kernel.asks import Ask
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.threads import current_run
from callboard.messages.control.logs import LogRow

__all__ = ["Recorded", "open_tap"]

TEXT_CHARS_MAX: Final = 4_096
"""A longer text is cut, and says so."""


class Recorded(Protocol):
    """Where the lines of one host go."""

    @property
    def host(self) -> Host:
        """The host."""

    def add(self, row: LogRow) -> None:
        """Take a line. Any thread may call it."""


class _Tap:
    """The one tap of this process. Its hosts come and go."""

    def __init__(self) -> None:
        self._hosts: tuple[Recorded, ...] = ()
        self._inside: Final = threading.local()
        self._inner: Callable[..., logging.LogRecord] | None = None
        self.failed = 0
        """Records without a line, because their text could not be made."""

    def open(self, to: Recorded) -> Callable[[], None]:
        """Give the lines of a host to `to`, until the returned function is called."""
        if self._inner is None:
            self._inner = logging.getLogRecordFactory()
            logging.setLogRecordFactory(self._make)
        self._hosts += (to,)
        return lambda: self._close(to)

    def _close(self, to: Recorded) -> None:
        self._hosts = tuple(each for each in self._hosts if each is not to)
        # Another factory may wrap this one by now: then it stays, and does nothing.
        if not self._hosts and logging.getLogRecordFactory() == self._make:
            assert self._inner is not None
            logging.setLogRecordFactory(self._inner)
            self._inner = None

    def _make(self, *arguments: Any, **keywords: Any) -> logging.LogRecord:
        inner = logging.LogRecord if self._inner is None else self._inner
        record = inner(*arguments, **keywords)
        if self._hosts and not getattr(self._inside, "is_busy", False):
            self._inside.is_busy = True  # What is logged from here on would lead here again.
            try:
                self._take(record)
            except Exception:  # noqa: BLE001 - the text of a record is made by the users' code
                self.failed += 1
            finally:
                self._inside.is_busy = False
        return record

    def _take(self, record: logging.LogRecord) -> None:
        hosts = self._hosts
        run = current_run() or _run_of_task(hosts)
        cell = None if run is None else run.cell
        to = hosts[0]
        path, step = "", ""
        if run is not None and cell is not None:
            to = next((each for each in hosts if each.host is cell.host), to)
            path = cell.path
            step = run.item.step if type(run.item) is Ask else ""
        execution, _, step = step.partition("/")
        to.add(
            LogRow(
                host=to.host.name,
                path=path,
                level=_level_of(record.levelno),
                time=record.created,
                logger=record.name,
                text=_text_of(record),
                execution=unquote(execution),
                step=unquote(step),
            )
        )


_TAP: Final = _Tap()
open_tap: Final = _TAP.open
"""Give the lines of a host to a `Recorded`; returns the function that ends this."""


def _run_of_task(hosts: tuple[Recorded, ...]) -> Any:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None  # A thread without a loop.
    if task is None:
        return None
    for each in hosts:
        run = each.host.dispatcher.runs.get(task)
        if run is not None:
            return run
    return None


def _level_of(number: int) -> str:
    if number >= logging.CRITICAL:
        return "critical"
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


def _text_of(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    if len(text) > TEXT_CHARS_MAX:
        text = f"{text[:TEXT_CHARS_MAX]}… ({len(text):,} characters)"
    return text.encode("utf-8", "replace").decode()
