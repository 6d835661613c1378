"""`callboard pipelines`: what a store or a server has of pipelines, and pipelines in files."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from callboard.actors.pipelines.build import build_pipeline
from callboard.actors.pipelines.files import read_pipeline
from callboard.actors.pipelines.running.ends import sink_of, source_of
from callboard.actors.pipelines.running.figures import PipelineLimits, RunState
from callboard.actors.pipelines.running.runner import PipelineRunner
from callboard.actors.pipelines.running.stored import PipelineState, PipelineStore
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import UsageError
from callboard.messages.storage.events import EventStore

from ..admin.pipeline_views import PipelineStanding, QueryPipelines, ResumeStoppedPipeline
from ..admin.pipelines import PipelineQueries, standing_of
from ..admin.port import Ask
from ..stores.choose import event_store, path_of, read_model_store
from .figures import age, counted, echo, paper, printable, rate
from .outcome import ExitCode
from .sources import server

__all__ = ["Answers", "answering", "check", "named", "resume", "run", "show"]

STYLES: Final = {"running": "cyan", "stopped": "red", "ended": "green"}
WAIT_S: Final = 3_600.0 * 24 * 365
ReplyT = TypeVar("ReplyT")


class Answers:
    """What answers the requests of a command."""

    def __init__(self, ask: Ask) -> None:
        self._ask: Final = ask

    def ask(self, request: Request[ReplyT]) -> ReplyT:
        """The reply. Raises its error."""

        async def asking() -> ReplyT:
            return await self._ask(request)

        return asyncio.run(asking())


@contextlib.contextmanager
def answering(words: Sequence[str]) -> Iterator[tuple[Answers, tuple[str, ...]]]:
    """What answers, and the words after it: the web server of --url, or the store in `words`."""
    remote = server()
    if remote is not None:
        yield Answers(remote.ask), tuple(words)
        return
    if not words:
        raise UsageError(
            "the command names no store.",
            advice="Name the store of the pipeline, or a web server: --url URL.",
        )
    url = words[0]
    path = path_of(url)
    if path is not None and not path.is_file():
        raise UsageError(f"there is no store {path}.", advice="Name the store of a pipeline.")
    store = read_model_store(url)
    try:
        store.open()
        yield Answers(PipelineQueries([store]).answer), tuple(words[1:])
    finally:
        store.close()


def named(words: Sequence[str], *, is_needed: bool = True) -> str:
    """The pipeline in the words, which have nothing else. Raises `UsageError`."""
    if len(words) > 1:
        raise UsageError(
            f"there are more words than a pipeline: {' '.join(words[1:])}.",
            advice="Without --url the store comes first, then the pipeline.",
        )
    if is_needed and not words:
        raise UsageError("the command names no pipeline.", advice="`callboard pipelines show`.")
    return words[0] if words else ""


def show(*, words: Sequence[str], rate_s: float | None, as_json: bool) -> int:
    """Perform the command; `commands/` declares it. Gives its exit code."""
    with answering(words) as (answers, rest):
        question = QueryPipelines(pipeline=named(rest, is_needed=False))
        found = answers.ask(question).items
        rates: dict[str, float] = {}
        if rate_s is not None:
            time.sleep(rate_s)
            before, found = {each.name: _read(each) for each in found}, answers.ask(question).items
            rates = {
                each.name: (_read(each) - before.get(each.name, _read(each))) / rate_s
                for each in found
            }
    if as_json:
        data = [_to_data(each, rates.get(each.name)) for each in found]
        click.echo(json.dumps({"pipelines": data}, indent=2))
    elif not found:
        click.echo("no pipelines.", err=True)
    for each in found:
        if not as_json:
            _print(each, rates.get(each.name))
    stopped = [each for each in found if each.state == PipelineState.STOPPED.value]
    return ExitCode.FAILED if stopped else ExitCode.OK


def _read(standing: PipelineStanding) -> int:
    account = standing.account or {}
    return int(account.get("read", 0)) + int(account.get("replayed", 0))


def _to_data(standing: PipelineStanding, per_s: float | None) -> dict[str, Any]:
    return {**standing.model_dump(mode="json"), "rows_per_s": per_s}


def _print(standing: PipelineStanding, per_s: float | None) -> None:
    account, console = standing.account, paper()
    lag = "" if standing.behind is None else f", {counted(standing.behind, 'row')} behind"
    at = "" if per_s is None else f", {rate(per_s)} rows/s"
    heading = f"{standing.name}: {standing.state}{at}{lag}, committed " + (
        f"{age(time.time() - standing.committed_at)} ago" if standing.committed_at else "never"
    )
    console.print(Text(printable(heading), style=STYLES.get(standing.state, "")))
    if standing.reason:
        echo(f"  {standing.reason}")
    echo(f"  {standing.source} → {standing.sink}")
    if account is None:
        return
    console.print(_stages(account["stages"]))
    echo(
        f"  {account['read']:,} read and {account['replayed']:,} replayed; "
        f"{account['delivered']:,} delivered, {account['outgoing']:,} on their way; "
        f"{account['letters_pending']:,} dead letters wait, "
        f"{account['letters_discarded']:,} discarded"
    )
    for problem in standing.problems:
        Console(stderr=True).print(Text(f"  does not add up: {problem}", style="bold red"))


def _stages(stages: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("  stage", "in", "out", "dropped", "letters", "buffered", "failures", "time"):
        table.add_column(title, justify="left" if title == "  stage" else "right")
    for name, stage in stages.items():
        dropped = ", ".join(f"{rows:,} {reason}" for reason, rows in stage["dropped"].items())
        table.add_row(
            Text("  " + printable(name)),
            f"{stage['rows_in']:,}",
            f"{stage['rows_out']:,}",
            Text(printable(dropped or "0")),
            f"{stage['letters']:,}",
            f"{stage['buffered']:,}",
            f"{stage['failures']:,}",
            age(stage["seconds"]),
        )
    return table


def resume(*, words: Sequence[str]) -> None:
    """Perform the command; `commands/` declares it."""
    with answering(words) as (answers, rest):
        name = named(rest)
        was_stopped = answers.ask(ResumeStoppedPipeline(pipeline=name)).was_stopped
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
        standing = standing_of(PipelineStore(store, spec.name))
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps(_to_data(standing, None)))
    else:
        _print(standing, None)
    return ExitCode.OK if state is RunState.ENDED else ExitCode.FAILED
