"""An execution as one self-contained page of HTML: times, graph, attempts, errors."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import Final

from callboard.actors.executions.history.changes import doubts
from callboard.actors.executions.history.fold import ExecutionHistory

from ..attempt_rows import place_of, short_kind
from ..execution_report import approval, began_of, failure_of, nodes, status_of
from ..figures import age
from . import gantt, graph
from .markup import left_off, table, tag, text
from .style import STYLE

__all__ = ["page"]

ROWS_MAX: Final = 2_000
ERRORS_MAX: Final = 50


def page(history: ExecutionHistory, *, is_running: bool | None) -> str:
    """The whole page. `is_running` says whether its system runs; None means unknown."""
    status = status_of(history, is_running=is_running)
    title = f"{text(history.job)} · {text(status)}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>"
        f"<header><h1>{text(history.job)} {tag(status)}</h1>"
        f'<p class="id soft">{text(history.id)}</p>'
        f"{_facts(history, is_running=is_running)}</header>"
        f"{_errors(history, is_running=is_running)}"
        f"<section><h2>Attempts over time</h2>{gantt.draw(history)}</section>"
        f"<section><h2>Graph</h2>{graph.draw(history)}</section>"
        f"<section><h2>Sub-tasks</h2>{_sub_tasks(history)}</section>"
        f"<section><h2>Attempts</h2>{_attempts(history)}</section>"
        f"<section><h2>Phases</h2>{_phases(history)}</section>"
        "</main></body></html>\n"
    )


def _moment(at: float) -> str:
    moment = dt.datetime.fromtimestamp(at, dt.UTC).astimezone()
    return f'<time datetime="{moment.isoformat()}">{moment:%Y-%m-%d %H:%M:%S}</time>'


def _facts(history: ExecutionHistory, *, is_running: bool | None) -> str:
    began = began_of(history)
    ended = history.steps[-1].at if history.is_over and history.steps else history.at
    counts = Counter(map(str, history.statuses))
    in_doubt = len(doubts(history, is_gone=is_running is False))
    said = " ".join(f"{tag(status)} {count:,}" for status, count in sorted(counts.items()))
    facts = [
        ("submitted", _moment(began)),
        ("took" if history.is_over else "known for", age(ended - began)),
        ("sub-tasks", said or "no plan"),
        ("attempts", f"{len(history.attempts):,}"),
        ("owner", text(history.owners[-1].name) if history.owners else "–"),
    ]
    if in_doubt:
        facts.append(("to decide", f"{in_doubt:,}"))
    if history.fork is not None:
        of, step = str(history.fork.of_id), str(history.fork.step)
        facts.append(("fork of", f'<span class="id">{text(of)}</span> from {text(step)}'))
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{items}</dl>'


def _errors(history: ExecutionHistory, *, is_running: bool | None) -> str:
    items = list(_error_items(history, is_running=is_running))
    if not items:
        return ""
    shown = "".join(f"<li>{item}</li>" for item in items[:ERRORS_MAX])
    return (
        f'<section aria-label="Errors"><h2>What went wrong</h2><ul class="error-list">{shown}</ul>'
        f"{left_off(len(items) - ERRORS_MAX, 'more')}</section>"
    )


def _error_items(history: ExecutionHistory, *, is_running: bool | None) -> Iterator[str]:
    error = failure_of(history)
    if error:
        yield f"{tag(str(history.status))} {text(error)}"
    for doubt in doubts(history, is_gone=is_running is False):
        command = approval(history.id, doubt.step)
        yield (
            f"{tag('in_doubt')} <strong>{text(doubt.step)}</strong> may have run "
            f"(attempt {doubt.attempt}): {text(doubt.message)}<br>"
            f"<code>{text(command)}</code> runs the step again; with <code>--fail</code> it fails"
        )
    for index, why in history.errors.items():
        message = str(why.get("message", ""))
        yield f"{tag('failed')} <strong>{text(history.ids[index])}</strong> {text(message)}"


def _sub_tasks(history: ExecutionHistory) -> str:
    attempts = Counter(attempt.task for attempt in history.attempts)
    took: dict[int, float] = {}
    for attempt in history.attempts:
        took[attempt.task] = took.get(attempt.task, 0.0) + attempt.took_s
    rows = (
        (
            f"<strong>{text(node.id)}</strong>",
            text(short_kind(node.kind)),
            tag(node.status),
            text(", ".join(node.needs)),
            text(node.parent or ""),
            f"{attempts[index]:,}",
            age(took[index]) if index in took else "–",
            text(node.error),
        )
        for index, node in enumerate(nodes(history, ROWS_MAX))
    )
    titles = ("sub-task", "kind", "status", "needs", "added by", "#attempts", "#took", "error")
    hidden = left_off(len(history.ids) - ROWS_MAX, "sub-tasks")
    return table(titles, rows, "Sub-tasks") + hidden


def _attempts(history: ExecutionHistory) -> str:
    began = began_of(history)
    rows = (
        (
            f"<strong>{text(history.ids[one.task])}</strong>",
            f"{one.attempt}",
            text(place_of(one.executor)),
            f"{one.began_at - began:+.3f} s",
            age(one.took_s),
            text(f"{one.code}: {one.message}" if one.code else ""),
        )
        for one in history.attempts[-ROWS_MAX:]
    )
    titles = ("sub-task", "#attempt", "where", "#began", "#took", "error")
    hidden = left_off(len(history.attempts) - ROWS_MAX, "earlier attempts")
    return table(titles, rows, "Attempts") + hidden


def _phases(history: ExecutionHistory) -> str:
    began = began_of(history)
    rows = [(at, f"{text(phase)}", "phase") for phase, at in history.phases]
    rows += [(at, text(owner), "owner") for owner, at in history.owners]
    rows += [
        (step.at, f"{step.from_status} → {tag(str(step.to))}", f"by {text(step.trigger)}")
        for step in history.steps
    ]
    rows.sort(key=lambda row: row[0])
    cells = ((f"{at - began:+.3f} s", said, what) for at, said, what in rows)
    return table(("#when", "what", "why"), cells, "Phases")
