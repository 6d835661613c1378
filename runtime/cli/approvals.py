"""`callboard approvals` and `callboard approve ID`: questions to persons, and their answers."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import click
from rich.table import Table
from rich.text import Text

from callboard.actors.approvals.core import ApprovalBook
from callboard.actors.approvals.storage import read_approvals, write_approvals
from callboard.messages.control.approvals import (
    Approval,
    ApprovalEnded,
    ApprovalsPage,
    ApprovalState,
    DecideApproval,
    MayNotDecide,
    QueryApprovals,
    UnknownApproval,
)
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.names import shell_command
from callboard.messages.storage.errors import StoreUnavailable
from callboard.messages.storage.stores import ReadModelStore

from ..admin.errors import AccessDenied
from ..admin.principals import local_principal
from ..stores.choose import path_of, read_model_store
from .figures import age, counted, echo, paper, printable
from .outcome import ExitCode, print_failure
from .sources import Place, local_systems, query_all, server

__all__ = ["approvals", "decide"]

SHOWN_MAX: Final = 500
TRIES_MAX: Final = 16
STYLES: Final = {"asked": "yellow", "given": "green", "refused": "red", "expired": "dim"}


@dataclass(frozen=True, slots=True)
class Found:
    """The approvals of one system, or of a store."""

    where: str
    page: ApprovalsPage


def approvals(
    *, shows_all: bool, store: str | None, as_json: bool, address: str | None, name: str | None
) -> None:
    """Perform the command; `commands/` declares it."""
    context = click.get_current_context()
    states = () if shows_all else (ApprovalState.ASKED,)
    request = QueryApprovals(states=states, limit=SHOWN_MAX)
    place = Place(address, name)
    if store is not None:
        with _opened(store) as opened:
            page = _book(opened)[1].page(request)
        found = [Found(f"store {store}", page)]
    else:
        found = asyncio.run(_in_systems(place, request))
        if not found:
            context.exit(ExitCode.FAILED)
    if as_json:
        data = [{"source": each.where, **each.page.model_dump(mode="json")} for each in found]
        click.echo(json.dumps({"sources": data}, indent=2))
        return
    for each in found:
        _draw(each)


async def _in_systems(place: Place, request: QueryApprovals) -> list[Found]:
    async with place.sources() as sources:
        answers = await query_all(list(sources()), request)
    if not answers:
        print_failure(place.nothing_runs, verbose=False)
    for answer in answers:
        if answer.view is None:
            echo(f"{answer.source} {answer.problem}", err=True)
    return [Found(each.source, each.view) for each in answers if each.view is not None]


def _draw(found: Found) -> None:
    page = found.page
    paper().print(
        Text.assemble((printable(found.where), "bold"), f"  {counted(page.open, 'open approval')}")
    )
    if not page.items:
        return
    now = time.time()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("state", "approval", "question", "asked by", "ago", "ends in", "decided by"):
        table.add_column(column)
    for each in page.items:
        left = age(each.ends_at - now) if each.is_open and each.ends_at else ""
        table.add_row(
            Text(each.state, style=STYLES.get(each.state, "")),
            Text(printable(each.id)),
            Text(printable(each.subject)),
            Text(printable(each.asked_by)),
            Text(age(max(0.0, now - each.asked_at))),
            Text(left),
            Text(printable(_deciders(each))),
        )
    paper().print(table)
    if page.next is not None:
        paper().print(Text(f"… and more than these {SHOWN_MAX}", style="dim"))
    for each in page.items:
        if each.is_open:
            command = shell_command("callboard approve", each.id)
            echo(f"{command}  # or with --refuse", err=True)


def _deciders(approval: Approval) -> str:
    parts = [
        f"{each.by}{f' ({each.reason})' if each.reason else ''}" for each in approval.decisions
    ]
    if approval.is_open and approval.needed > 1:
        parts.append(f"{len(parts)} of {approval.needed}")
    return ", ".join(parts)


def decide(approval_id: str, *, gives: bool, reason: str, store: str | None, as_json: bool) -> None:
    """Decide an approval of a running system, or of a store. Raises `UnknownApproval`."""
    subject = local_principal("cli").subject  # As a process names this caller of its socket.
    command = DecideApproval(id=approval_id, gives=gives, reason=reason, by=subject)
    after = asyncio.run(_ask_systems(command)) if store is None else _decide_in(store, command)
    if as_json:
        click.echo(after.model_dump_json())
        return
    left = f", {len(after.decisions)} of {after.needed} agree" if after.is_open else ""
    echo(f"approval {after.id} is {after.state}{left}: {after.subject}")


async def _ask_systems(command: DecideApproval) -> Approval:
    unknown: Exception | None = None
    for source in local_systems():
        try:
            return await source.ask(command)
        except (ApprovalEnded, MayNotDecide, AccessDenied):
            raise
        except (CallboardError, OSError, TimeoutError, ValueError) as error:
            # It does not know it, has just ended, hangs, or is another release.
            is_only_one = server() is not None and isinstance(error, CallboardError)
            if isinstance(error, UnknownApproval) or is_only_one:
                unknown = error
    if unknown is not None:
        raise unknown
    raise UnknownApproval(
        f"no system that runs here keeps approval {command.id}.",
        advice="Name its store (--store), or a server (--url); for a step, name ID and STEP.",
    )


# --- a store ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(url: str) -> Iterator[ReadModelStore]:
    path = path_of(url)
    if path is not None and not path.is_file():
        raise UsageError(f"the file {path} does not exist.", advice="Name an existing store.")
    store = read_model_store(url)
    try:
        store.open()
        yield store
    finally:
        store.close()


def _book(store: ReadModelStore) -> tuple[int, ApprovalBook]:
    position, rows = read_approvals(store)
    book = ApprovalBook(rows)
    book.apply(book.expire(time.time()))
    return position, book


def _decide_in(url: str, command: DecideApproval) -> Approval:
    """Store a decision; a running system notices it within seconds."""
    with _opened(url) as store:
        for _ in range(TRIES_MAX):
            position, book = _book(store)
            changes = book.decide(command, time.time())
            if not changes or write_approvals(store, position, changes):
                book.apply(changes)
                return book.find(command.id)
    raise StoreUnavailable("others changed the approvals again and again.", advice="Try again.")
