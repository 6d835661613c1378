"""The answers of `callboard metrics` for people and machines: lines, tables, charts, CSV, JSON."""

import csv
import io
import json
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from callboard.actors.metrics.query.question import MetricsAnswered, MetricsListed

from .charts import chart, clock, number, sparkline
from .figures import counted, printable

__all__ = [
    "as_csv",
    "as_json",
    "charts",
    "incomplete",
    "lines",
    "listing",
    "listing_as_json",
    "open_note",
    "table",
]

SPARKLINE_MAX: Final = 40
SEGMENTS_NAMED_MAX: Final = 3
NOTHING: Final = "no values."


def lines(answer: MetricsAnswered) -> RenderableType:
    """One line for each series."""
    if answer.is_instant:
        drawn = _columns("series", "value")
        for series in answer.series:
            value = number(series.floats()[0])
            drawn.add_row(Text(printable(series.label), style="bold"), value)
        return drawn
    drawn = _columns("series", "last", "min", "max")
    drawn.add_column("", no_wrap=True)
    for series in answer.series:
        values = series.floats()
        label = Text(printable(series.label), style="bold")
        drawn.add_row(label, *map(number, _extremes(values)), sparkline(values, SPARKLINE_MAX))
    return Group(drawn, Text(_span(answer), style="dim"))


def table(answer: MetricsAnswered) -> RenderableType:
    """All values, series by series."""
    parts: list[RenderableType] = []
    for series in answer.series:
        drawn = _columns("time", "value")
        for place, value in enumerate(series.floats()):
            if not math.isnan(value):
                width = answer.widths_ns[place] if answer.widths_ns else 0
                drawn.add_row(clock(answer.times_ns[place], width), number(value))
        parts += [Text(printable(series.label), style="bold"), drawn]
    return Group(*parts)


def charts(answer: MetricsAnswered, width: int, height: int, charts_max: int) -> RenderableType:
    """A chart of each series, with its newest, least and greatest value."""
    if not answer.series:
        return Text(incomplete(answer.missing) or NOTHING)
    parts: list[RenderableType] = []
    for series in answer.series[:charts_max]:
        values = series.floats()
        title = Text(printable(series.label), style="bold")
        last, low, high = map(number, _extremes(values))
        title.append(f"  {last}", style="bold green")
        title.append(f"  {low} to {high}", style="dim")
        parts.append(title)
        parts += [Text(line, no_wrap=True) for line in chart(values, width, height)]
    hidden = len(answer.series) - charts_max
    if hidden > 0:
        parts.append(Text(f"… and {hidden:,} more series (--charts)", style="dim"))
    if answer.missing:
        parts.append(Text(incomplete(answer.missing), style="yellow"))
    return Group(*parts, Text(_span(answer), style="dim"))


def listing(found: MetricsListed) -> RenderableType:
    """The metrics that there are."""
    drawn = _columns("metric", "kind", "series")
    for name, kind, count in found.metrics:
        drawn.add_row(Text(printable(name), style="bold"), kind, f"{count:,}")
    return drawn


def _columns(*names: str) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for place, name in enumerate(names):
        drawn.add_column(name, justify="left" if place == 0 else "right", no_wrap=True)
    return drawn


def _extremes(values: list[float]) -> tuple[float, float, float]:
    """The newest, the least and the greatest value."""
    known = [value for value in values if not math.isnan(value)] or [math.nan]
    return known[-1], min(known), max(known)


def _span(answer: MetricsAnswered) -> str:
    """The time of an answer, and its steps."""
    widths = answer.widths_ns or [after - before for before, after in pairwise(answer.times_ns)]
    if not widths:
        return NOTHING
    steps = " and ".join(f"{width / 60e9:g} min" for width in sorted(set(widths)))
    begin = clock(answer.times_ns[0], widths[0])
    end = clock(answer.times_ns[-1], widths[-1])
    is_open = ", still open" if answer.open_until_ns else ""
    return f"{begin} to {end}, {counted(len(answer.times_ns), 'value')} of {steps}{is_open}"


def open_note(answer: MetricsAnswered) -> str:
    """What to know about values of windows that are still open."""
    end = clock(answer.open_until_ns, 0)
    return f"No window has ended yet: these are the values so far of those that end at {end}."


def incomplete(missing: Sequence[str]) -> str:
    """What an answer lacks; empty when it is whole."""
    if not missing:
        return ""
    names = ", ".join(map(printable, missing[:SEGMENTS_NAMED_MAX]))
    more = ", …" if len(missing) > SEGMENTS_NAMED_MAX else ""
    return (
        f"incomplete: {counted(len(missing), 'segment')} cannot be read, and their windows are "
        f"not in this answer: {names}{more}. Restore the files from a backup."
    )


# --- for machines -------------------------------------------------------------------------------


def as_json(answer: MetricsAnswered) -> str:
    """The answer as JSON; a time without a value has null."""
    data = {
        "times_s": [time / 1e9 for time in answer.times_ns],
        "widths_s": [width / 1e9 for width in answer.widths_ns],
        "series": [
            {"name": each.metric, "tags": dict(each.tags), "values": list(each.values)}
            for each in answer.series
        ],
        "open_until_s": answer.open_until_ns / 1e9 or None,
        "missing_segments": list(answer.missing),
    }
    return json.dumps(data, allow_nan=False)


def listing_as_json(found: MetricsListed) -> str:
    """The metrics as JSON."""
    rows = [dict(zip(("name", "kind", "series"), row, strict=True)) for row in found.metrics]
    return json.dumps({"metrics": rows, "missing_segments": list(found.missing)})


def as_csv(answer: MetricsAnswered) -> str:
    """A line for each value: time, metric, tags, value."""
    tags = sorted({tag for series in answer.series for tag, _ in series.tags})
    text = io.StringIO()
    written = csv.writer(text, lineterminator="\n")
    written.writerow(["time_s", "metric", *tags, "value"])
    for series in answer.series:
        own = dict(series.tags)
        for time_ns, value in zip(answer.times_ns, series.floats(), strict=True):
            if not math.isnan(value):
                fields = [own.get(tag, "") for tag in tags]
                written.writerow([f"{time_ns / 1e9:.15g}", series.metric, *fields, repr(value)])
    return text.getvalue().rstrip("\n")
