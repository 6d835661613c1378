"""`project`: events of a log into a read model of accounts, exactly once, durable.

The events are in the log before the clock runs. `events_per_s` is a projector from an empty
model until the last event is in it. `rebuild_per_s` is a shadow build while the model is live, up
to the moment at which readers see the new one. Log and model are in one store.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from bench.loop import run_on_fastest_loop
from bench.outcome import Outcome, Params
from bench.stores import store_for
from bench.timing import timed
from bench.workload import account_of, amount_of, projected_check
from callboard.actors.events.codec import EventCodec
from callboard.actors.events.projection.projection import Projection, Rows, projects
from callboard.actors.events.projection.projector import Projector
from callboard.actors.events.projection.queries import Queries
from callboard.actors.journal.journal import Journal
from callboard.messages.core.contract import Contract
from callboard.messages.storage.stores import ReadModelStore
from callboard.runtime.hosting.memory import tune_gc
from callboard.runtime.stores.choose import event_store, read_model_store

__all__ = ["run"]

BATCH: Final = 1_000
DEADLINE_S: Final = 500.0


class Deposited(Contract, name="bench.deposited"):
    """Money has come to an account."""

    account: str
    amount: int


class Withdrawn(Contract, name="bench.withdrawn"):
    """Money has left an account."""

    account: str
    amount: int


class Accounts(Projection[int]):
    """The balance of each account."""

    name = "bench.accounts"

    @projects
    def deposited(self, rows: Rows[int], event: Deposited) -> None:
        """It has more."""
        rows[event.account] = rows.get(event.account, 0) + event.amount

    @projects
    def withdrawn(self, rows: Rows[int], event: Withdrawn) -> None:
        """It has less."""
        rows[event.account] = rows.get(event.account, 0) - event.amount


def run(params: Params) -> Outcome:
    """Fill a log, project it, and rebuild the model."""
    # As every host and driver of a system does when it starts; here there is none.
    tune_gc()
    with (
        tempfile.TemporaryDirectory(prefix="callboard-project-") as folder,
        store_for(params, Path(folder)) as (url, _),
    ):
        return run_on_fastest_loop(_run(params, url))


async def _run(params: Params, url: str) -> Outcome:
    journal = Journal(event_store(url, durability="full"), owner="bench")
    await journal.open()
    models = read_model_store(url, durability="full")
    count = params["events"]
    try:
        await _fill(journal, params)
        live = Projector(Accounts(), journal, models)
        with timed() as projected:
            await live.start()
            await live.wait_for(count, DEADLINE_S)
        first = await _balances(models)
        shadow = Projector(Accounts(), journal, models, shadow=True)
        with timed() as rebuilt:
            await shadow.start()
            await shadow.promote(DEADLINE_S, instead_of=live)
        second = await _balances(models)
        figures = shadow.statistics()
        await shadow.close()
    finally:
        await journal.close()
        models.close()
    if first != second or figures.events != count:
        raise AssertionError("the model of the rebuild says something else")
    note = f"{params['accounts']} accounts, {figures.pages} transactions of a rebuild"
    return Outcome(
        {"events_per_s": projected.per_s(count), "rebuild_per_s": rebuilt.per_s(count)},
        projected_check(first),
        (note,),
    )


async def _fill(journal: Journal, params: Params) -> None:
    codec = EventCodec((Deposited, Withdrawn))
    for start in range(0, params["events"], BATCH):
        events = []
        for number in range(start, min(start + BATCH, params["events"])):
            account, amount = account_of(number, params), amount_of(number)
            body = (
                Deposited(account=account, amount=amount)
                if amount > 0
                else Withdrawn(account=account, amount=-amount)
            )
            events.append(codec.encode(body))
        await journal.append(f"accounts/{start}", events)
        await asyncio.sleep(0)


async def _balances(models: ReadModelStore) -> dict[str, int]:
    queries = Queries(Accounts, models)
    found: dict[str, int] = {}
    last = ""
    while page := await queries.items(after=last, limit=10_000):
        found.update(page)
        last = page[-1][0]
    await queries.close()
    return found
