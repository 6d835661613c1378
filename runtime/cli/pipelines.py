"""`callboard pipelines`: what a store has of pipelines, and pipelines in files."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from callboard.actors.pipelines.build import build_pipeline
from callboard.actors.pipelines.files import read_pipeline
from callboard.actors.pipelines.running.ends import sink_of, source_of
from callboard.actors.pipelines.running.figures import PipelineLimits, RunState
from callboard.actors.pipelines.running.runner import PipelineRunner
from callboard.actors.pipelines.running.stored import PipelineState, PipelineStore, StoredPipeline
from callboard.messages.core.errors import UsageError
from callboard.messages.storage.events import EventStore
from callboard.messages.storage.stores import ReadModelStore

from ..stores.choose import event_store, path_of, read_model_store
from .figures import age, counted, echo, paper, printable, rate
from .outcome import ExitCode

__all__ = ["check", "chosen", "opened", "resume", "run", "show"]

STYLES: Final = {"running": "cyan", "stopped": "red", "ended": "green"}
WAIT_S: Final = 3_600.0 * 24 * 365


@contextlib.contextmanager
def opened(url: str) -> Iterator[ReadModelStore]:
    """The store at a URL, which must exist."""
    path = path_of(url)
    if path is not None and not path.is_file():
        raise UsageError(f"there is no store {path}.", advice="Name the store of a pipeline.")
    store = read_model_store(url)
    try:
        store.open()
        yield store
    finally:
        store.close()


def chosen(store: ReadModelStore, name: str | None) -> list[PipelineStore]:
    """The pipelines in a store, or the one of this name. Raises `UsageError`."""
    names = PipelineStore.names(store)
    if name is None:
        return [PipelineStore(store, each) for each in names]
    if name not in names:
        known = ", ".join(names) or "none"
        raise UsageError(f"there is no pipeline {name!r}.", advice=f"The store has: {known}.")
    return [PipelineStore(store, name)]


def show(*, url: str, name: str | None, rate_s: float | None, as_json: bool) -> int:
    """Perform the command; `commands/` declares it. Gives its exit code."""
    with opened(url) as store:
        pipelines = chosen(store, name)
        found = {each.name: each.load() for each in pipelines}
        rates: dict[str, float] = {}
        if rate_s is not None:
            time.sleep(rate_s)
            before, found = found, {each.name: each.load() for each in pipelines}
            rates = {each: (_read(found[each]) - _read(before[each])) / rate_s for each in found}
    if as_json:
        data = [_to_data(each, stored, rates.get(each)) for each, stored in found.items()]
        click.echo(json.dumps({"pipelines": data}, indent=2))
    elif not found:
        click.echo("no pipelines.", err=True)
    for each, stored in found.items():
        if not as_json:
            _print(each, stored, rates.get(each))
    stopped = [s for s in found.values() if s.status.state is PipelineState.STOPPED]
    return ExitCode.FAILED if stopped else ExitCode.OK


def _read(stored: StoredPipeline) -> int:
    account = stored.account
    return 0 if account is None else account.read + account.replayed


def _to_data(name: str, stored: StoredPipeline, per_s: float | None) -> dict[str, Any]:
    status = stored.status
    return {
        "name": name,
        "state": status.state.value,
        "reason": status.reason,
        "version": status.version,
        "source": status.source,
        "sink": status.sink,
        "position": status.position,
        "batches": status.batches,
        "committed_at": status.committed_at,
        "behind": None if status.behind < 0 else status.behind,
        "rows_per_s": per_s,
        "account": None if stored.account is None else stored.account.to_data(),
        "problems": [] if stored.account is None else list(stored.account.problems()),
    }


def _print(name: str, stored: StoredPipeline, per_s: float | None) -> None:
    status, account, console = stored.status, stored.account, paper()
    lag = "" if status.behind < 0 else f", {counted(status.behind, 'row')} behind"
    at = "" if per_s is None else f", {rate(per_s)} rows/s"
    heading = f"{name}: {status.state.value}{at}{lag}, committed " + (
        f"{age(time.time() - status.committed_at)} ago" if status.committed_at else "never"
    )
    console.print(Text(printable(heading), style=STYLES.get(status.state.value, "")))
    if status.reason:
        echo(f"  {status.reason}")
    echo(f"  {status.source} → {status.sink}")
    if account is None:
        return
    console.print(_stages(stored))
    echo(
        f"  {account.read:,} read and {account.replayed:,} replayed; {account.delivered:,} "
        f"delivered, {account.outgoing:,} on their way; {account.letters_pending:,} dead letters "
        f"wait, {account.letters_discarded:,} discarded"
    )
    for problem in account.problems():
        Console(stderr=True).print(Text(f"  does not add up: {problem}", style="bold red"))


def _stages(stored: StoredPipeline) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("  stage", "in", "out", "dropped", "letters", "buffered", "failures", "time"):
        table.add_column(title, justify="left" if title == "  stage" else "right")
    assert stored.account is not None, "the caller has checked it"
    for name, stage in stored.account.stages.items():
        dropped = ", ".join(f"{rows:,} {reason}" for reason, rows in stage.dropped.items())
        table.add_row(
            Text("  " + printable(name)),
            f"{stage.rows_in:,}",
            f"{stage.rows_out:,}",
            Text(printable(dropped or "0")),
            f"{stage.letters:,}",
            f"{stage.buffered:,}",
            f"{stage.failures:,}",
            age(stage.nanoseconds / 1e9),
        )
    return table


def resume(*, url: str, name: str) -> None:
    """Perform the command; `commands/` declares it."""
    with opened(url) as store:
        (pipeline,) = chosen(store, name)
        was_stopped = pipeline.resume()
    echo(f"{name} " + ("goes on." if was_stopped else "was not stopped."))


def check(*, file: str, as_json: bool) -> None:
    """Perform the command; `commands/` declares it."""
    spec = read_pipeline(file)
    build_pipeline(spec)
    stages = [{"name": stage.name, "type": stage.type} for stage in spec.stages]
    if as_json:
        click.echo(json.dumps({"name": spec.name, "version": spec.version, "stages": stages}))
    else:
        names = " → ".join(stage.name for stage in spec.stages)
        echo(f"{spec.name}, version {spec.version}, is right: {names}")


def _journal(url: str) -> EventStore:
    """The journal at a URL, for reading: its system writes it meanwhile."""
    path = path_of(url)
    if path is not None and not path.is_file():
        raise UsageError(
            f"there is no journal {path}.", advice="Start the system that takes the events first."
        )
    return event_store(url, reads_only=True)


def run(*, file: str, url: str, batch_rows: int, as_json: bool) -> int:
    """Perform the command; `commands/` declares it. Gives its exit code."""
    spec = read_pipeline(file)
    pipeline = build_pipeline(spec, clock=time.perf_counter_ns)
    source, sink = source_of(spec, _journal), sink_of(spec)
    store = read_model_store(url)

    async def to_its_end() -> RunState:
        limits = PipelineLimits(batch_rows=batch_rows)
        async with PipelineRunner(pipeline, source, sink, store, limits=limits) as runner:
            over = (RunState.ENDED, RunState.STOPPED)
            await runner.wait(lambda now: now.state in over, WAIT_S)
            return runner.statistics().state

    try:
        state = asyncio.run(to_its_end())
        stored = PipelineStore(store, spec.name).load()
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps(_to_data(spec.name, stored, None)))
    else:
        _print(spec.name, stored, None)
    return ExitCode.OK if state is RunState.ENDED else ExitCode.FAILED
