"""`callboard alerts silence` and `unsilence`: nobody is notified of some alerts for a while."""

import asyncio
import dataclasses
import getpass
import json
import secrets
import time

import click

from callboard.actors.alerts.durations import duration_s
from callboard.actors.alerts.matching import accepts, matcher_text
from callboard.actors.alerts.messages import AddSilence, EndSilence, silence_of, silence_view
from callboard.actors.alerts.silences import Silence
from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import shown

from .alert_sources import Found, change_silences, finding, only_one
from .figures import age, counted, echo
from .sources import Place

__all__ = ["silence", "unsilence"]


def silence(
    *,
    matchers: tuple[str, ...],
    duration: str,
    comment: str,
    author: str,
    url: str | None,
    as_json: bool,
    address: str | None,
    name: str | None,
) -> None:
    """Perform the command; `commands/` declares it."""
    lasts_s = duration_s(duration)
    now_s = time.time()
    request = AddSilence(
        id=secrets.token_hex(4),
        matchers=matchers,
        begins_at=now_s,
        ends_at=now_s + lasts_s,
        author=author or _user(),
        comment=comment,
    )
    made = silence_of(request)  # Refuse it here, before anything is asked.
    found = asyncio.run(_silence(request, made, url, Place(address, name)))
    covered = [
        alert
        for alert in found.view.alerts
        if accepts(made.matchers, tuple(sorted(alert.labels.items())))
    ]
    if as_json:
        data = silence_view(made, made.from_ns).model_dump(mode="json")
        click.echo(json.dumps({**data, "alerts": [alert.id for alert in covered]}))
        return
    words = ", ".join(map(matcher_text, made.matchers))
    count = counted(len(covered), "alert")
    echo(f"silence {made.id}: {words} for {age(lasts_s)}; {count} now.")


async def _silence(request: AddSilence, made: Silence, url: str | None, place: Place) -> Found:
    async with finding(url, place) as listed:
        found = only_one(listed, "Name the store of one: --store.")
        if found.source is not None:
            await found.source.ask(request)
        else:
            change_silences(found.url, lambda _: [made])
        return found


def unsilence(
    *, silence_id: str, url: str | None, as_json: bool, address: str | None, name: str | None
) -> None:
    """Perform the command; `commands/` declares it."""
    if not asyncio.run(_unsilence(silence_id, url, Place(address, name))):
        raise UsageError(
            f"no silence {shown(silence_id)} is there that is not over.",
            advice="`callboard alerts` lists them.",
        )
    if as_json:
        click.echo(json.dumps({"id": silence_id, "ended": True}))
    else:
        echo(f"silence {silence_id} has ended.")


async def _unsilence(silence_id: str, url: str | None, place: Place) -> bool:
    async with finding(url, place) as found:
        return any(
            [
                await _end(each, silence_id)
                for each in found
                if any(known.id == silence_id for known in each.view.silences)
            ]
        )


async def _end(found: Found, silence_id: str) -> bool:
    if found.source is not None:
        return (await found.source.ask(EndSilence(id=silence_id))).was_known
    ended = False

    def change(silences: dict[str, Silence]) -> list[Silence]:
        nonlocal ended
        known, now_ns = silences.get(silence_id), time.time_ns()
        ended = known is not None and known.until_ns > now_ns
        if known is None or not ended:
            return []
        return [dataclasses.replace(known, until_ns=max(now_ns, known.from_ns + 1))]

    change_silences(found.url, change)
    return ended


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # A container may have a user without a name.
        return "unknown"
