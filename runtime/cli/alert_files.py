"""`callboard alerts rules`, `test` and `reload`: files are checked, tried, and put in place."""

import asyncio
import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from callboard.actors.alerts.delivery import ATTEMPT_S_MAX
from callboard.actors.alerts.files import AlertFiles, rules_text
from callboard.actors.alerts.grouping import Notification
from callboard.actors.alerts.messages import AlertsReloaded
from callboard.actors.alerts.ports import Target
from callboard.actors.alerts.states import Alert, AlertState
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.names import shown

from ..api.alerts import alert_files, alert_texts, reload_request
from ..delivery.targets import make_targets
from ..telemetry.default_rules import default_groups
from .alert_sources import finding, only_one
from .figures import counted, echo
from .outcome import ExitCode
from .sources import Place

__all__ = ["reload", "rules", "test"]

TEST_NAME: Final = "CallboardTest"


def rules(*, files: Sequence[Path], shows_default: bool, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    if shows_default:
        click.echo(rules_text(default_groups()).rstrip())
        return
    if not files:
        raise UsageError("no file is named.", advice="Name files, or use --default.")
    found = alert_files(files)
    make_targets(found.plan.receivers)
    count = sum(len(group.rules) for group in found.groups)
    if as_json:
        click.echo(json.dumps(_data(found, count)))
        return
    echo(
        f"{counted(count, 'rule')} in {counted(len(found.groups), 'group')}, "
        f"{counted(len(found.plan.receivers), 'receiver')}: no problem."
    )


def _data(found: AlertFiles, count: int) -> dict[str, Any]:
    return {
        "groups": {group.name: [rule.name for rule in group.rules] for group in found.groups},
        "rules": count,
        "receivers": [receiver.name for receiver in found.plan.receivers],
    }


def reload(*, files: Sequence[Path], as_json: bool, address: str | None, name: str | None) -> None:
    """Perform the command; `commands/` declares it."""
    alert_files(files)  # Refuse them here, before anything is asked.
    where, paths, done = asyncio.run(_reload(files, Place(address, name)))
    if as_json:
        click.echo(json.dumps({"files": [str(path) for path in paths], **done.model_dump()}))
        return
    echo(
        f"{where}: {counted(done.rules, 'rule')}, {counted(done.receivers, 'receiver')} from "
        f"{', '.join(map(str, paths))}."
    )


async def _reload(
    files: Sequence[Path], place: Place
) -> tuple[str, Sequence[Path], AlertsReloaded]:
    async with finding(None, place, takes_store=False) as listed:
        found = only_one(listed, "Name a detached system: --name. Python has `reload_alerts`.")
        assert found.source is not None, "only a system is found"
        paths = files or tuple(map(Path, found.view.files))
        if not paths:
            raise UsageError(
                f"the rules of {found.where} are not from files.", advice="Name the files to use."
            )
        make_targets(alert_files(paths).plan.receivers)
        done = await found.source.ask(reload_request(alert_texts(paths)))
        return found.where, paths, done


def test(*, files: Sequence[Path], receiver: str | None, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    plan = alert_files(files).plan
    targets = make_targets(plan.receivers)
    if receiver is not None:
        if receiver not in targets:
            raise UsageError(
                f"there is no receiver {shown(receiver)}.",
                advice=f"There is: {', '.join(targets)}.",
            )
        targets = {receiver: targets[receiver]}
    problems = asyncio.run(_try_all(targets))
    if as_json:
        click.echo(json.dumps({"receivers": problems}))
    else:
        for name, problem in problems.items():
            echo(f"{name}: {problem or 'delivered'}")
    failed = any(problems.values())
    click.get_current_context().exit(ExitCode.FAILED if failed else ExitCode.OK)


async def _try_all(targets: dict[str, Target]) -> dict[str, str]:
    found = await asyncio.gather(*(_try(name, target) for name, target in targets.items()))
    return dict(zip(targets, found, strict=True))


async def _try(name: str, target: Target) -> str:
    """Why a receiver does not take the test; empty when it does."""
    now_ns = time.time_ns()
    alert = Alert(
        id=secrets.token_hex(8),
        rule=TEST_NAME,
        group=TEST_NAME,
        labels=(("alertname", TEST_NAME), ("severity", "info")),
        annotations=(("summary", "A test of this receiver by `callboard alerts test`."),),
        state=AlertState.FIRING,
        value=1.0,
        active_since_ns=now_ns,
        fired_at_ns=now_ns,
    )
    notification = Notification(
        key=secrets.token_hex(8), receiver=name, group=(("alertname", TEST_NAME),),
        alerts=(alert,), made_at_ns=now_ns,
    )  # fmt: skip
    try:
        async with asyncio.timeout(ATTEMPT_S_MAX):
            await target.deliver(notification)
    except TimeoutError:
        return f"no answer within {ATTEMPT_S_MAX:g} s"
    except CallboardError as error:
        return error.message
    return ""
