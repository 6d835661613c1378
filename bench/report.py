"""A report for machines (JSON) and for people (a table).

The keys `bench`, `machine`, `params`, `results`, `ratios` and `check` are stable, because other
programs read them. The others describe the sides that ran, and those that could not.
"""

import json
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.registry import Bench
from bench.rounds import Report, SideReport

__all__ = ["benches_as_data", "print_benches", "print_report", "report_as_data", "to_json"]

DIGITS = 6
LARGE = 100


def to_json(data: object) -> str:
    """`data` as JSON text."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)


def report_as_data(report: Report, machine: Mapping[str, str | int | float]) -> dict[str, Any]:
    """The report as plain data for JSON."""
    return {
        "bench": report.bench,
        "machine": dict(machine),
        "params": {**report.ours.params, "smoke": report.smoke, "repeat": report.repeat},
        "results": _rounded(report.ours.results),
        "ratios": _rounded(report.ratios),
        "check": report.ours.check,
        "ours": _side_as_data(report.ours),
        "peers": {peer.name: _side_as_data(peer) for peer in report.peers},
    }


def _side_as_data(side: SideReport) -> dict[str, Any]:
    return {
        "status": side.status,
        "reason": side.reason,
        "versions": dict(side.versions),
        "params": dict(side.params),
        "results": _rounded(side.results),
        "rounds": [_rounded(results) for results in side.rounds],
        "check": side.check,
        "notes": list(side.notes),
        "cannot": dict(side.cannot),
    }


def _rounded(results: Mapping[str, float]) -> dict[str, float]:
    # Six significant digits: no clock here is more precise, and a diff stays readable.
    return {name: float(f"{value:.{DIGITS}g}") for name, value in results.items()}


def benches_as_data(benches: tuple[Bench, ...]) -> list[dict[str, Any]]:
    """The output of `list --json`."""
    return [
        {
            "bench": bench.name,
            "question": bench.question,
            "peers": [peer.name for peer in bench.peers],
        }
        for bench in benches
    ]


def print_benches(benches: tuple[Bench, ...], console: Console) -> None:
    """Print the benches and their peers as a table."""
    table = Table("bench", "question", "peers", box=box.SIMPLE)
    for bench in benches:
        names = (f"{peer.name}{'' if peer.always else ' *'}" for peer in bench.peers)
        table.add_row(bench.name, bench.question, ", ".join(names))
    console.print(table)
    console.print("* runs with --peers only", style="dim")


def print_report(
    report: Report, machine: Mapping[str, str | int | float], console: Console
) -> None:
    """Print a row for each figure and side, then the sides that could not be measured."""
    console.print(Text(f"{report.bench}: {report.question}", style="bold"))
    _say(console, ", ".join(f"{name} {value}" for name, value in machine.items()))
    table = Table("figure", "side", "value", "ours is better by", box=box.SIMPLE)
    ratios = report.ratios
    measured = [side for side in (report.ours, *report.peers) if side.status == "measured"]
    for figure in dict.fromkeys(name for side in measured for name in side.results):
        for side in measured:
            if figure in side.results:
                better = ratios.get(f"{side.name}.{figure}")
                table.add_row(
                    figure,
                    side.name,
                    _number(side.results[figure]),
                    "" if better is None else f"{better:.3g} x",
                )
        table.add_section()
    console.print(table)
    for side in (report.ours, *report.peers):
        if side.status == "measured":
            sizes = ", ".join(
                f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
                for name, value in side.params.items()
            )
            cannot = (f"cannot do {part}: {why}" for part, why in side.cannot.items())
            said = "; ".join((f"{side.name}: {sizes}", *side.notes, *cannot))
            _say(console, said, style="dim")
        else:
            style = "red" if side.status == "failed" else "yellow"
            _say(console, f"{side.name}: {side.status}: {side.reason}", style=style)


def _say(console: Console, line: str, *, style: str = "") -> None:
    # Without wrapping and markup, because a traceback has brackets and long lines.
    console.print(Text(line, style=style), soft_wrap=True)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:.3g}"
