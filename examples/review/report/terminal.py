"""The summary in the terminal: counts, the worst findings, and the report files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..finding import Finding, Severity
from .model import Report

__all__ = ["print_summary", "summary_line"]

STYLES: Final[Mapping[str, str]] = {
    Severity.CRITICAL: "bold white on red",
    Severity.HIGH: "bold red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan",
    Severity.INFO: "dim",
}
WORST_MAX: Final = 8


def print_summary(
    console: Console,
    report: Report,
    *,
    timings: Mapping[str, float] | None = None,
    written: Sequence[Path] = (),
) -> None:
    """Print the report's summary, safely for any content and any width."""
    summary = report.summary
    elapsed = (timings or {}).get("total_s")
    took = "" if elapsed is None else f" in {elapsed:.1f} s"
    console.print()
    console.print(
        Text.assemble(
            ("Review of ", ""),
            (report.source, "bold"),
            f": {summary.files:,} files, {summary.lines:,} lines, "
            f"{len(report.agents)} agents{took}",
        )
    )
    for note in report.notes:
        console.print(Text(f"Note: {note}", style="yellow"))
    tables = [
        _counts("Severity", summary.by_severity, STYLES),
        _counts("Reported by", summary.by_agent, {}),
        _counts("Topic", summary.top_topics, {}),
    ]
    if summary.by_policy:
        tables.append(_counts("Resolved by", summary.by_policy, {}))
    console.print(Columns(tables, padding=(0, 3)))
    _print_worst(console, report)
    console.print(
        f"{summary.claims:,} claims became {summary.findings:,} findings.", highlight=False
    )
    for path in written:
        console.print(Text.assemble("  ", (str(path), "underline")), soft_wrap=True)


def summary_line(report: Report, timings: Mapping[str, float] | None = None) -> str:
    """One line of JSON for programs, without the findings."""
    line: dict[str, Any] = {
        "source": report.source,
        "files": report.summary.files,
        "lines": report.summary.lines,
        "findings": report.summary.findings,
        "by_severity": dict(report.summary.by_severity),
        "timings": {key: round(value, 3) for key, value in (timings or {}).items()},
    }
    return json.dumps(line, ensure_ascii=False)


def _counts(title: str, counts: Mapping[str, int], styles: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title)
    table.add_column("", justify="right")
    for name, count in counts.items():
        style = styles.get(name, "") if count else "dim"
        table.add_row(Text(name, style=style), Text(f"{count:,}", style="" if count else "dim"))
    return table


def _print_worst(console: Console, report: Report) -> None:
    serious = [item for item in report.findings if item.severity.rank >= Severity.HIGH.rank]
    serious.sort(key=lambda item: (-item.severity.rank, -item.confidence, item.sort_key))
    if not serious:
        return
    # One of each topic, because the worst eight are often the same problem.
    worst_of_topic: dict[str, Finding] = {}
    for finding in serious:
        worst_of_topic.setdefault(finding.topic, finding)
    shown = list(worst_of_topic.values())[:WORST_MAX]
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    table.add_column("", no_wrap=True)
    table.add_column("Worst of its topic", overflow="fold")
    table.add_column("")
    for finding in shown:
        table.add_row(
            Text(finding.severity, style=STYLES[finding.severity]),
            Text.assemble((f"{finding.path}:{finding.line}", "bold"), f"\n{finding.message}"),
            Text(", ".join(finding.agents), style="dim"),
        )
    console.print(table)
    if len(serious) > len(shown):
        more = f"… and {len(serious) - len(shown):,} more findings of severity high or critical"
        console.print(more, highlight=False)
    console.print()
