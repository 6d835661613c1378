"""`callboard why PATH`: the failures of an actor or a host, and its supervisor's decisions.

PATH is what `callboard tree` shows: `host-1/reviews/store`; `/reviews/store` on any host; a
registered name; or a host.
"""

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from callboard.messages.control.views import ActorHistory, HistoryEntry, QueryActor
from callboard.messages.core.errors import UsageError

from .figures import age, counted, paper, printable
from .outcome import ExitCode, print_failure
from .sources import Place, Source, query_all

__all__ = ["Found", "draw", "find", "full_path", "why"]

Clock = Callable[[], dt.datetime]


@dataclass(frozen=True, slots=True)
class Found:
    """The one history that a path means, and the hosts that did not answer."""

    system: str
    pid: int
    history: ActorHistory
    silent: tuple[str, ...] = ()

    def to_data(self) -> dict[str, Any]:
        """The history for machines."""
        return {
            "system": self.system,
            "pid": self.pid,
            "silent": list(self.silent),
            **self.history.model_dump(mode="json"),
        }


def why(
    *,
    path: str,
    as_json: bool,
    system: str | None,
    traces: bool,
    address: str | None,
    name: str | None,
) -> None:
    """Perform the command; `commands/` declares it."""
    context = click.get_current_context()
    place = Place(address, name)
    found = asyncio.run(_find_at(place, path, system))
    if found is None:
        print_failure(place.nothing_runs, verbose=False)
        context.exit(ExitCode.FAILED)
    if as_json:
        click.echo(json.dumps(found.to_data(), indent=2))
    else:
        paper().print(draw(found, traces=traces))


async def _find_at(place: Place, path: str, system: str | None) -> Found | None:
    """The history, or None when no system runs there."""
    async with place.sources() as sources:
        asked = sources()
        return await find(asked, path, system) if asked else None


async def find(sources: Sequence[Source], path: str, system: str | None = None) -> Found:
    """The history that `path` means. Raises `UsageError` when it means none, or several."""
    names: dict[str, None] = {}
    found: list[Found] = []
    near: list[str] = []
    silent: list[str] = []
    left_off = 0
    for snapshot in await query_all(sources, QueryActor(path=path)):
        if snapshot.view is None:
            silent.append(f"{snapshot.source} {snapshot.problem}")
            continue
        name = snapshot.view.system
        names[name] = None
        if system is not None and name != system:
            continue
        unanswered = tuple(f"{host}: {reason}" for host, reason in snapshot.view.silent)
        silent += unanswered
        near += snapshot.view.near
        left_off += snapshot.view.matches_left_off
        found += [
            Found(name, snapshot.pid, history, unanswered) for history in snapshot.view.matches
        ]
    if len(found) == 1 and not left_off:
        return found[0]
    if found:
        raise _ambiguous(path, found, left_off)
    if system is not None and system not in names:
        known = ", ".join(sorted(names)) or "none that answers"
        raise UsageError(f"no system is named {system!r}.", advice=f"There is: {known}.")
    raise _unknown(path, near, silent)


def full_path(history: ActorHistory) -> str:
    """Host and path, as `callboard why` accepts them."""
    return f"{history.host}{history.path}"


def _where(found: Found) -> str:
    if found.pid:
        return f"system {found.system}, process {found.pid}"
    return f"detached system {found.system}"


def _ambiguous(path: str, found: Sequence[Found], left_off: int) -> UsageError:
    several = len({(one.system, one.pid) for one in found}) > 1
    paths = ", ".join(
        full_path(one.history) + (f" ({_where(one)})" if several else "") for one in found
    )
    more = f", and {left_off:,} more" if left_off else ""
    choose = "Choose one" + (" with --system." if several else ".")
    return UsageError(
        f"{path!r} may mean {counted(len(found) + left_off, 'actor')}: {paths}{more}.",
        advice=choose,
    )


def _unknown(path: str, near: Sequence[str], silent: Sequence[str]) -> UsageError:
    alike = f"Did you mean {' or '.join(near)}? " if near else ""
    unasked = f" These did not answer and may have it: {'; '.join(silent)}." if silent else ""
    return UsageError(
        f"no actor and no host has the path {path!r}.{unasked}",
        advice=f"{alike}`callboard tree` shows the paths; ended actors are forgotten in time.",
    )


# --- drawing --------------------------------------------------------------------------------


def _now() -> dt.datetime:
    return dt.datetime.now().astimezone()


def draw(found: Found, *, traces: bool = True, now: Clock = _now) -> RenderableType:
    """One history: the actor or host, then each failure, oldest first."""
    history = found.history
    lifecycle_style = "green" if history.lifecycle == "running" else "red"
    head = Text.assemble(
        (printable(full_path(history)), "bold"),
        f"  {printable(history.kind)}  ",
        (history.lifecycle, lifecycle_style),
        f"  {printable(_where(found))}" if found.system else "",
    )
    parts: list[RenderableType] = [head, Text(", ".join(_facts(history)))]
    if history.ended_ago_s is not None:
        parts.append(
            Text(
                f"ended {_when(history.ended_ago_s, now)}: {printable(history.ended)}",
                style="yellow",
            )
        )
    if history.note:
        parts.append(Text(printable(history.note), style="dim"))
    parts += [Text(f"not asked: {printable(text)}", style="yellow") for text in found.silent]
    if not history.entries:
        parts.append(Text("No failure is known."))
    elif all(entry.origin for entry in history.entries):
        parts.append(Text("It has not failed itself, as far as is known."))
    for entry in history.entries:
        parts += _entry(entry, now, traces=traces)
    return Group(*parts)


def _facts(history: ActorHistory) -> list[str]:
    facts = _restarts(history) if history.ended_ago_s is None else []
    if history.restart:
        facts.insert(0, history.restart)
    if history.mailbox:
        facts.append(f"{history.mailbox:,} in its mailbox")
    if history.supervision:
        facts.append(f"supervised {history.supervision}")
    return facts


def _restarts(history: ActorHistory) -> list[str]:
    facts = [counted(history.restarts, "restart")]
    also = {
        "its group": history.group_restarts,
        "its parents": history.parent_restarts,
        "its host": history.host_restarts,
    }
    if any(also.values()):
        facts[0] += " of its own"
    return facts + [f"{count:,} with {whose}" for whose, count in also.items() if count]


def _entry(entry: HistoryEntry, now: Clock, *, traces: bool) -> list[RenderableType]:
    whose = f"  {entry.relation} {printable(entry.origin)}," if entry.origin else " "
    line = Text.assemble(
        (_when(entry.ago_s, now), "bold"),
        f"{whose} incarnation {entry.incarnation}  ",
        (entry.reason, "red"),
        f"  {printable(entry.message)}",
    )
    decided = entry.decision
    if entry.relation in {"parent", "host"}:
        decided = f"the {entry.relation} restarted, and everything on it with it"
    if entry.delay_s:
        decided += f" after {age(entry.delay_s)}"
    parts: list[RenderableType] = [Text(), line, Text(f"  → {decided}", style="cyan")]
    if traces and entry.traceback:
        trace = Text(printable(entry.traceback.rstrip()), style="dim")
        parts.append(Padding(trace, (0, 0, 0, 4), expand=False))
    return parts


def _when(ago_s: float, now: Clock) -> str:
    at = now() - dt.timedelta(seconds=ago_s)
    return f"{at:%Y-%m-%d %H:%M:%S} ({age(ago_s)} ago)"
