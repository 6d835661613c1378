"""`callboard alerts`: what fires, what nobody is notified of, and which rules say nothing."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from callboard.actors.alerts.messages import AlertsView, AlertView, RuleView
from callboard.actors.alerts.templates import shown_value

from .alert_sources import Found, finding
from .figures import age, counted, paper, printable
from .outcome import ExitCode
from .sources import Place

__all__ = ["alerts", "draw"]

STYLES: Final = {"firing": "bold red", "pending": "yellow", "resolved": "green"}
LABELS_HIDDEN: Final = frozenset({"alertname", "severity"})


def alerts(
    *,
    state: str | None,
    shows_all: bool,
    url: str | None,
    as_json: bool,
    address: str | None,
    name: str | None,
) -> None:
    """Perform the command; `commands/` declares it."""
    context = click.get_current_context()
    found = asyncio.run(_found(url, Place(address, name)))
    if as_json:
        click.echo(json.dumps({"sources": [_data(each, state) for each in found]}, indent=2))
    else:
        for each in found:
            paper().print(draw(each, state, shows_all=shows_all))
    context.exit(ExitCode.FAILED if any(_fires(each.view) for each in found) else ExitCode.OK)


async def _found(url: str | None, place: Place) -> list[Found]:
    async with finding(url, place) as found:
        return found


def _fires(view: AlertsView) -> bool:
    return any(
        alert.state == "firing" and not (alert.silenced_by or alert.is_inhibited)
        for alert in view.alerts
    )


def _data(found: Found, state: str | None) -> dict[str, Any]:
    data = found.view.model_dump(mode="json")
    data["alerts"] = [each for each in data["alerts"] if state in (None, each["state"])]
    return {"source": found.where, **data}


def draw(found: Found, state: str | None, *, shows_all: bool) -> RenderableType:
    """One source for people."""
    view = found.view
    chosen = [alert for alert in view.alerts if state in (None, alert.state)]
    firing = sum(1 for alert in view.alerts if alert.state == "firing")
    head = Text.assemble(
        (printable(found.where), "bold"),
        f"  {counted(firing, 'alert')} firing, {counted(len(view.rules), 'rule')}",
    )
    if view.undelivered:
        head.append(f", {counted(view.undelivered, 'notification')} not delivered", style="yellow")
    parts: list[RenderableType] = [head]
    if chosen:
        parts.append(_alert_table(chosen, view.at))
    if view.left_off:
        parts.append(Text(f"… and {counted(view.left_off, 'more alert')}", style="dim"))
    wrong = [rule for rule in view.rules if shows_all or rule.state in {"failed", "no_data"}]
    if wrong:
        parts.append(_rule_table(wrong))
    active = [each for each in view.silences if shows_all or each.ends_at > view.at]
    if active:
        table = _table("silence", "matchers", "ends in", "author", "comment")
        for each in active:
            left_s = each.ends_at - view.at
            table.add_row(
                Text(printable(each.id)),
                Text(printable(", ".join(each.matchers))),
                Text(age(left_s) if left_s > 0.0 else "over"),
                Text(printable(each.author)),
                Text(printable(each.comment)),
            )
        parts.append(table)
    return Group(*parts)


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for each in names:
        table.add_column(each)
    return table


def _alert_table(alerts_shown: Sequence[AlertView], at: float) -> Table:
    table = _table("state", "severity", "alert", "labels", "value", "for", "summary")
    for alert in alerts_shown:
        state = alert.state
        if alert.silenced_by or alert.is_inhibited:
            state += " (silenced)" if alert.silenced_by else " (inhibited)"
        began = {"firing": alert.fired_at, "resolved": alert.resolved_at}.get(
            alert.state, alert.active_since
        )
        labels = [f"{k}={v}" for k, v in alert.labels.items() if k not in LABELS_HIDDEN]
        table.add_row(
            Text(state, style=STYLES.get(alert.state, "")),
            Text(printable(alert.severity)),
            Text(printable(alert.name), style="bold"),
            Text(printable(", ".join(labels))),
            Text(shown_value(alert.value)),
            Text(age(max(0.0, at - began))),
            Text(printable(alert.annotations.get("summary", ""))),
        )
    return table


def _rule_table(rules: Sequence[RuleView]) -> Table:
    table = _table("rule", "group", "state", "why")
    for rule in rules:
        why = rule.problem or ", ".join(rule.missing)
        table.add_row(
            Text(printable(rule.name), style="bold"),
            Text(printable(rule.group)),
            Text(rule.state.replace("_", " "), style="" if rule.state == "ok" else "yellow"),
            Text(printable(why)),
        )
    return table
