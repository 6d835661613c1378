"""Alerts of a system: rules from files or from Python, and the actor that evaluates them.

files = alert_files(["rules.yml", "receivers.yml"])
await start_alerts(system, files, store="metrics.db", make_evaluator=...)
"""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from callboard.actors.alerts.actor import AlertManager
from callboard.actors.alerts.default_rules import default_groups
from callboard.actors.alerts.files import AlertFiles, read_files
from callboard.actors.alerts.messages import ALERT_MANAGER
from callboard.actors.alerts.rules import check_groups
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.props import props
from callboard.actors.metrics.ports import Evaluator
from callboard.actors.metrics.query.promql.parser import parse
from callboard.messages.control.spec import Restart
from callboard.messages.core.errors import UsageError
from callboard.messages.core.ref import Ref

from ..delivery.targets import make_targets
from ..stores.choose import read_model_store
from .system import System

__all__ = ["alert_files", "start_alerts"]

FILE_BYTES_MAX: Final = 8_000_000


def alert_files(paths: Sequence[str | os.PathLike[str]]) -> AlertFiles:
    """Read files of rules, receivers and routes.

    Raises `FilesRefused` with every problem, and `UsageError` for a file that cannot be read.
    """
    return read_files([(os.fspath(path), _text_of(Path(path))) for path in paths], _check)


def _check(expression: str) -> None:
    parse(expression)


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise UsageError(
                f"the file {path} has more than {FILE_BYTES_MAX:,} bytes.", advice="Split it."
            )
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the file {path} cannot be read: {error}.", advice="Name a file of text in UTF-8."
        ) from None


async def start_alerts(
    system: System,
    files: AlertFiles | None = None,
    *,
    store: str,
    make_evaluator: Callable[[Context], Evaluator],
    host: int | str | None = None,
    defaults: bool = True,
    durability: str = "full",
) -> Ref[AlertManager]:
    """Start the alert manager of a system as a supervised actor.

    It evaluates the rules of `files` and, with `defaults`, those for Callboard itself. `store` is
    the URL of the store that keeps the states of alerts, and silences. `make_evaluator` makes the
    evaluator on the manager's host. Both must be reachable from there: a file needs a host of its
    machine.

    Raises `SpecError` for rules, a URL or a receiver that is wrong, `NameTaken` when the system
    has an alert manager, and `ActorStartFailed` when the store does not open.
    """
    files = AlertFiles() if files is None else files
    own = default_groups() if defaults else ()
    groups = (*own, *files.groups)
    check_groups(groups, _check)
    make_store = functools.partial(read_model_store, store, durability=durability)
    make_store()  # Refuse a wrong URL here, not on a host.
    targets = functools.partial(make_targets, files.plan.receivers)
    targets()
    manager = props(AlertManager, groups, files.plan, make_store, make_evaluator, targets)
    return await system.spawn(manager, name=ALERT_MANAGER, host=host, restart=Restart.PERMANENT)
