"""`callboard token`: the tokens of a system's web server."""

import asyncio
import datetime as dt
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from callboard.messages.control.filters import ChannelRule, StreamFilter
from callboard.messages.control.principals import Scope
from callboard.messages.core.errors import UsageError

from ..admin.principals import local_principal
from ..api.tokens import open_tokens, token_files
from ..web.token_keys import remove_old_keys, rotate_keys
from ..web.token_registry import TokenRecord
from .figures import age, echo, paper, printable
from .metric_request import duration_of

__all__ = ["create", "list_tokens", "revoke", "rotate"]

NS: Final = 1e9


def create(
    *,
    subject: str,
    scopes: Sequence[str],
    channels: Sequence[str],
    publishes: Sequence[str],
    subscribes: Sequence[str],
    rules: Sequence[str],
    duration: str,
    system: str,
    store: str,
    keys: Path | None,
    as_json: bool,
) -> None:
    """Perform the command; `commands/` declares it."""
    valid_s = duration_of(duration, "--for") / NS

    async def perform() -> tuple[str, TokenRecord]:
        async with open_tokens(system, store=store, keys=keys) as tokens:
            return await tokens.create(
                subject,
                valid_s,
                scopes=[Scope(scope) for scope in scopes or (() if rules else ("read",))],
                channels=channels or ("*",),
                publishes=publishes,
                subscribes=subscribes,
                rules=[_rule(text) for text in rules],
                by=local_principal("cli").subject,
            )

    text, record = asyncio.run(perform())
    if as_json:
        click.echo(json.dumps({"token": text, **_to_data(record)}))
        return
    click.echo(text)
    ends = dt.datetime.fromtimestamp(record.expires_at, dt.UTC).astimezone()
    echo(f"token {record.id} of {record.subject} ends {ends:%Y-%m-%d %H:%M}.", err=True)


def _rule(text: str) -> ChannelRule:
    pattern, _, condition = text.partition("=")
    try:
        found = StreamFilter.model_validate_json(condition)
    except ValidationError:
        raise UsageError(
            f"the rule {text!r:.200} is no PATTERN=FILTER.",
            advice='Write it as \'orders:*={"key": "tenant", "cmp": "eq", "val": "a"}\'.',
        ) from None
    return ChannelRule(channels=pattern, filter=found)


def list_tokens(*, system: str, store: str, keys: Path | None, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""

    async def perform() -> list[TokenRecord]:
        async with open_tokens(system, store=store, keys=keys) as tokens:
            return await tokens.list_records()

    records = asyncio.run(perform())
    if as_json:
        click.echo(json.dumps({"tokens": [_to_data(record) for record in records]}, indent=2))
        return
    if not records:
        click.echo("no tokens.", err=True)
        return
    now = time.time()
    table = Table(box=None, pad_edge=False)
    for title in ("id", "subject", "scopes", "age", "ends", "last used"):
        table.add_column(title)
    for record in records:
        table.add_row(
            record.id,
            Text(printable(record.subject)),
            " ".join(record.scopes),
            age(now - record.created_at),
            _end(record, now),
            "never" if record.last_used_at is None else f"{age(now - record.last_used_at)} ago",
        )
    paper().print(table)


def _end(record: TokenRecord, now: float) -> str:
    if record.revoked_at is not None:
        return "revoked"
    return f"in {age(record.expires_at - now)}" if record.expires_at > now else "ended"


def revoke(*, token_id: str, system: str, store: str, keys: Path | None, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""

    async def perform() -> TokenRecord:
        async with open_tokens(system, store=store, keys=keys) as tokens:
            return await tokens.revoke(token_id, by=local_principal("cli").subject)

    record = asyncio.run(perform())
    if as_json:
        click.echo(json.dumps(_to_data(record)))
    else:
        echo(f"token {record.id} of {record.subject} is revoked.")


def rotate(*, system: str, keys: Path | None, removes_old: bool, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    path = keys or token_files(system)[1]
    if not path.is_file():
        raise UsageError(f"there is no file of keys {path}.", advice="The first token makes it.")
    if removes_old:
        removed = [key.id for key in remove_old_keys(path)]
        if as_json:
            click.echo(json.dumps({"removed": removed}))
        else:
            echo(f"removed: {', '.join(removed) or 'none'}; what they signed counts no more.")
        return
    found = rotate_keys(path, by=local_principal("cli").subject, now=time.time())
    old = [name for name in found.by_id if name != found.newest.id]
    if as_json:
        click.echo(json.dumps({"newest": found.newest.id, "old": old}))
        return
    echo(f"key {found.newest.id} signs from now on; {', '.join(old)} still count.")
    echo("Make the tokens of programs again, then remove the old keys: --remove-old.", err=True)


def _to_data(record: TokenRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in TokenRecord.__slots__}
