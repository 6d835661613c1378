"""The command line: `python -m bench NAME [--smoke] [--json] [--peers] [--repeat N]`.

A suite (`savina`) also takes `--only PART,…`. `savina` and `scale` take `--table`, which writes
their figures into the docs. `durable`, `resume`, `append`, `project` and `state` take
`--store sqlite|postgres`. `nodes` takes `--address`, and `windows` takes `--data`.

Exit codes: 0 when every chosen side was measured or is not installed; 1 when our side, or a peer
that always runs, failed; 2 for a wrong command line. The failure of another peer is reported and
does not change the exit code.
"""

import signal
import sys
from types import FrameType
from typing import NoReturn

import click
from rich.console import Console

from bench.machine import describe_machine
from bench.registry import BENCHES, STORES, Bench, bench_named
from bench.report import benches_as_data, print_benches, print_report, report_as_data, to_json
from bench.rounds import REPEAT_MAX, Report, run_bench
from bench.savina import table as savina_table
from bench.scale import table as scale_table

__all__ = ["exit_code", "main"]

LIST = "list"
TABLES = {"savina": savina_table, "scale": scale_table}
"""The benches whose figures stand in a page of the docs."""
SIGNAL_EXIT_CODE = 128


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", type=click.Choice([LIST, *(bench.name for bench in BENCHES)]))
@click.option("--smoke", is_flag=True, help="Use tiny sizes, to check only that it runs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--peers", "all_peers", is_flag=True, help="Run every installed peer too.")
@click.option(
    "--repeat",
    type=click.IntRange(1, REPEAT_MAX),
    default=1,
    show_default=True,
    help="Rounds. The figures are their medians.",
)
@click.option(
    "--only", "parts", default="", help="Run only these parts of a suite, separated by commas."
)
@click.option(
    "--store",
    type=click.Choice(STORES),
    help="The store of our side, in durable benches (default: sqlite).",
)
@click.option(
    "--address",
    help="Run on this cluster, which has at least two nodes, and lose none of them (`nodes`).",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    help="A folder with real series, files with lines `timestamp,value` (`windows`).",
)
@click.option(
    "--table", "as_table", is_flag=True, help="Also write the table into the docs (savina, scale)."
)
def main(
    *,
    name: str,
    smoke: bool,
    as_json: bool,
    all_peers: bool,
    repeat: int,
    parts: str,
    store: str | None,
    address: str | None,
    data: str | None,
    as_table: bool,
) -> None:
    """Run the bench NAME, or `list` all benches."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_on_signal)
    if name == LIST:
        if as_json:
            click.echo(to_json(benches_as_data(BENCHES)))
        else:
            print_benches(BENCHES, Console())
        return
    bench = _on_cluster(_on_store(_chosen(bench_named(name), parts), store), address)
    bench = _on_data(bench, data)
    if as_table and (name not in TABLES or parts or smoke):
        raise click.UsageError("--table needs a whole suite at full size, or scale.")
    console = Console(stderr=True)
    machine = describe_machine()
    report = run_bench(
        bench,
        smoke=smoke,
        repeat=repeat,
        all_peers=all_peers,
        progress=lambda line: console.print(line, style="dim"),
    )
    if as_json:
        click.echo(to_json(report_as_data(report, machine)))
    else:
        print_report(report, machine, Console())
    if as_table and report.ours.status == "measured":
        page = TABLES[name]
        text = page.table_of(report, machine)
        savina_table.write_table(text, page.PAGE, (page.BEGIN, page.END))
    sys.exit(exit_code(report))


def _chosen(bench: Bench, parts: str) -> Bench:
    """The bench, or the chosen parts of it."""
    if not parts:
        return bench
    names = parts.split(",")
    unknown = [name for name in names if name not in bench.parts]
    if unknown:
        known = ", ".join(bench.parts) or "no parts"
        raise click.UsageError(f"{bench.name} has no {', '.join(unknown)}; it has {known}.")
    return bench.only(names)


def _on_store(bench: Bench, store: str | None) -> Bench:
    """The bench, on the chosen store."""
    if store is None:
        return bench
    if store not in bench.stores:
        raise click.UsageError(f"{bench.name} has no choice of stores.")
    return bench.on_store(store)


def _on_data(bench: Bench, folder: str | None) -> Bench:
    """The bench, with real series as well."""
    if folder is None:
        return bench
    if not bench.takes_data:
        raise click.UsageError(f"{bench.name} reads no series.")
    return bench.on_data(folder)


def _on_cluster(bench: Bench, address: str | None) -> Bench:
    """The bench, on the chosen cluster."""
    if address is None:
        return bench
    if not bench.needs_nodes:
        raise click.UsageError(f"{bench.name} runs on a Ray of its own and takes no --address.")
    return bench.on_cluster(address)


def exit_code(report: Report) -> int:
    """1 if our side or a peer that always runs failed or is absent, else 0."""
    always = {peer.name for peer in bench_named(report.bench).peers if peer.always}
    required = (report.ours, *(peer for peer in report.peers if peer.name in always))
    return int(any(side.status != "measured" for side in required))


def _exit_on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    # As an exception, so that the running side is stopped too.
    sys.exit(SIGNAL_EXIT_CODE + number)


if __name__ == "__main__":
    main()
