"""An execution as one page of HTML that needs nothing else: lanes over time, graph, attempts."""

from collections import Counter
from html import escape
from typing import Final

from callboard.actors.execution.history.fold import ExecutionHistory

from .figures import age, printable
from .story import lanes, nodes

__all__ = ["page"]

ROWS_MAX: Final = 2_000
BARS_MAX: Final = 5_000
LANES_MAX: Final = 100
WIDTH: Final = 1_000
ROW: Final = 22
STYLE: Final = """
body{font:14px system-ui,sans-serif;margin:2rem;color:#222;background:#fff}
table{border-collapse:collapse}td,th{padding:2px 10px;text-align:left;border-bottom:1px solid #ddd}
svg{background:#f6f6f6}.ok{fill:#4a8}.bad{fill:#c44}.failed{color:#c44}
"""


def page(history: ExecutionHistory) -> str:
    """The whole page."""
    title = f"{_text(history.job)} {_text(history.id)}"
    counts = Counter(map(str, history.statuses))
    said = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>{_text(str(history.status))}; {_text(said)}</p>"
        f"<h2>Lanes over time</h2>{_gantt(history)}"
        f"<h2>Graph</h2>{_graph(history)}<h2>Attempts</h2>{_attempts(history)}</body></html>\n"
    )


def _text(text: str) -> str:
    return escape(printable(text).encode("utf-8", "replace").decode())


def _gantt(history: ExecutionHistory) -> str:
    shown = history.attempts[-BARS_MAX:]
    if not shown:
        return "<p>No attempt has ended so far.</p>"
    begin = min(attempt.began_at for attempt in shown)
    span = max(max(attempt.began_at + attempt.took_s for attempt in shown) - begin, 1e-6)
    by_lane = list(lanes(shown).items())
    parts = []
    for number, (lane, attempts) in enumerate(by_lane[:LANES_MAX]):
        y = number * ROW
        parts.append(f'<text x="4" y="{y + 15}" font-size="12">{_text(lane or "–")}</text>')
        for attempt in attempts:
            x = 200 + (attempt.began_at - begin) / span * (WIDTH - 200)
            wide = max(1.0, attempt.took_s / span * (WIDTH - 200))
            name = _text(f"{history.ids[attempt.task]} {age(attempt.took_s)} {attempt.message}")
            parts.append(
                f'<rect class="{"bad" if attempt.code else "ok"}" x="{x:.1f}" y="{y + 3}" '
                f'width="{wide:.1f}" height="{ROW - 6}"><title>{name}</title></rect>'
            )
    height = min(len(by_lane), LANES_MAX) * ROW
    hidden = _left_off(len(history.attempts) - len(shown), "earlier attempts")
    hidden += _left_off(len(by_lane) - LANES_MAX, "lanes")
    return (
        f'<svg width="{WIDTH}" height="{height}" role="img">{"".join(parts)}</svg>'
        f"<p>0 s to {age(span)}</p>{hidden}"
    )


def _graph(history: ExecutionHistory) -> str:
    rows = "".join(
        f"<tr><td>{_text(node.id)}</td><td>{_text(node.kind)}</td>"
        f'<td class="{_text(node.status)}">{_text(node.status)}</td>'
        f"<td>{_text(', '.join(node.needs))}</td><td>{_text(node.parent or '')}</td>"
        f"<td>{_text(node.error)}</td></tr>"
        for node in nodes(history, ROWS_MAX)
    )
    head = "<tr><th>sub-task<th>kind<th>status<th>needs<th>grew out of<th>error</tr>"
    return f"<table>{head}{rows}</table>" + _left_off(len(history.ids) - ROWS_MAX, "sub-tasks")


def _attempts(history: ExecutionHistory) -> str:
    rows = "".join(
        f"<tr><td>{_text(history.ids[one.task])}</td><td>{one.attempt}</td>"
        f"<td>{_text(one.lane)}</td><td>{one.began_at:.3f}</td><td>{one.took_s:.6f}</td>"
        f"<td>{_text(one.code)} {_text(one.message)}</td></tr>"
        for one in history.attempts[-ROWS_MAX:]
    )
    head = "<tr><th>sub-task<th>attempt<th>lane<th>began (s since 1970)<th>took (s)<th>error</tr>"
    left_off = _left_off(len(history.attempts) - ROWS_MAX, "earlier attempts")
    return f"<table>{head}{rows}</table>{left_off}"


def _left_off(count: int, what: str) -> str:
    return f"<p>{count:,} {what} are not shown.</p>" if count > 0 else ""
