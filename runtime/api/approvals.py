"""Approvals of a system: the actor that keeps the questions to persons.

async with callboard.start(journal="jobs.db") as system:
    await start_approvals(system)
"""

import functools
from pathlib import Path
from typing import Any, Final, Protocol

from callboard.actors.approvals.actor import Approvals
from callboard.actors.kernel.props import props
from callboard.messages.control.approvals import APPROVALS
from callboard.messages.control.placement import Placement
from callboard.messages.control.spec import Restart
from callboard.messages.core.ref import Ref

from ..executions.journals import AUTO, OFF, OpenJournal
from ..hosting.settings import Settings
from ..stores.choose import path_of, read_model_store
from .metrics import Starts, on_this_machine

__all__ = ["approvals_url", "start_approvals"]

MEMORY: Final = "memory:"


class Approving(Starts, Protocol):
    """What the start of approvals needs of a `System`."""

    @property
    def settings(self) -> Settings:
        """See `System.settings`."""

    @property
    def approvals_url(self) -> str:
        """See `System.approvals_url`."""


def approvals_url(settings: Settings, journal: OpenJournal | None) -> str:
    """The store of approvals of a system: next to its journal's file, or on the same server."""
    url = "" if settings.journal in (OFF, AUTO) else settings.journal
    if journal is not None and journal.journal.store.name.startswith("sqlite "):
        url = journal.journal.store.name.removeprefix("sqlite ")
    path = path_of(url) if url else None
    if path is None:
        return url or MEMORY
    return str(Path(f"{path}.approvals").absolute())


async def start_approvals(
    system: Approving, *, store: str | None = None, host: int | str | None = None
) -> Ref[Approvals]:
    """Start the actor `callboard.approvals`, supervised, which keeps the approvals of a system.

    `store` is the URL of their store: by default a file next to the file of the journal, or the
    server of the journal, or else the memory of the actor, which forgets all with its host.
    Without a `host`, the actor runs on the machine of this driver if its store is a file. The next
    system with the same store has the same approvals.

    Raises `SpecError` for a wrong URL, `NameTaken` when the system has the actor already, and
    `ActorStartFailed` when the store refuses to open.
    """
    url = system.approvals_url if store is None else store
    make_store = functools.partial(read_model_store, url, durability=system.settings.durability)
    make_store()  # Refuse a wrong URL here, not on a host.
    if host is None and path_of(url) is not None:
        placement = await on_this_machine(system)
    else:
        placement = Placement(host)
    manager: Any = props(Approvals, make_store)
    ref: Ref[Approvals] = await system.spawn(
        manager, name=APPROVALS, placement=placement, restart=Restart.PERMANENT
    )
    return ref
