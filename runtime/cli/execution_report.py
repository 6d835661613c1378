"""The history of one execution as text and as data. What is left off is counted."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from callboard.actors.executions.history.changes import doubts, standing_of
from callboard.actors.executions.history.fold import Attempt, ExecutionHistory
from callboard.actors.executions.history.plain import plain

from .attempt_rows import place_of
from .figures import age, counted, hint, printable

__all__ = [
    "Node",
    "approval",
    "began_of",
    "draw",
    "failure_of",
    "nodes",
    "status_of",
    "to_data",
]

NODES_MAX: Final = 60
"""A larger plan is shown as counts by kind."""
ATTEMPTS_MAX: Final = 30
DOUBTS_MAX: Final = 20


class Node(NamedTuple):
    """One sub-task."""

    id: str
    kind: str
    needs: tuple[str, ...]
    parent: str | None
    status: str
    error: str


def approval(execution_id: str, step: str) -> str:
    """The command that decides about a step in doubt."""
    return hint("approve", execution_id, step)


def nodes(history: ExecutionHistory, limit: int | None = None) -> Iterator[Node]:
    """The sub-tasks, in the order in which they were added."""
    ids = history.ids
    for added in history.added:
        grown = added.event
        parent = None if grown.parent is None else ids[grown.parent]
        named = zip(grown.contract_names(), grown.needs(), strict=True)
        for index, (name, needed) in enumerate(named, added.first):
            if limit is not None and index >= limit:
                return
            needs = tuple(ids[need] for need in needed)
            error = str(history.errors.get(index, {}).get("message", ""))
            status = standing_of(history, index)
            yield Node(ids[index], name, needs, parent, status, error)


def status_of(history: ExecutionHistory, *, is_running: bool | None) -> str:
    """The status of the execution, or `interrupted` when its system does not run."""
    return "interrupted" if not history.is_over and is_running is False else str(history.status)


def to_data(
    history: ExecutionHistory, *, is_running: bool | None, shows_all: bool = False
) -> dict[str, Any]:
    """The execution for machines."""
    limit = None if shows_all else NODES_MAX
    attempts = history.attempts if shows_all else history.attempts[-ATTEMPTS_MAX:]
    return {
        "id": history.id,
        "job": history.job,
        "status": str(history.status),
        "interrupted": False if history.is_over else None if is_running is None else not is_running,
        "version": history.version,
        "fork": None if history.fork is None else plain(history.fork.fields()),
        "submitted_at": history.submitted.at or None,
        "updated_at": history.at,
        "owners": [{"owner": owner, "at": at} for owner, at in history.owners],
        "phases": [{"phase": phase, "at": at} for phase, at in history.phases],
        "steps": [plain(step._asdict()) for step in history.steps],
        "counts": dict(Counter(map(str, history.statuses))),
        "sub_tasks": [node._asdict() for node in nodes(history, limit)],
        "sub_tasks_left_off": 0 if limit is None else max(0, len(history.ids) - limit),
        "attempts": [
            attempt._asdict() | {"task": history.ids[attempt.task]} for attempt in attempts
        ],
        "attempts_left_off": len(history.attempts) - len(attempts),
        "in_doubt": [doubt._asdict() for doubt in doubts(history, is_gone=is_running is False)],
    }


def draw(
    history: ExecutionHistory, *, is_running: bool | None, shows_all: bool = False
) -> RenderableType:
    """The execution for people."""
    standing = status_of(history, is_running=is_running)
    parts: list[RenderableType] = [
        Text.assemble(
            (printable(history.id), "bold"), f"  {printable(history.job)}  ", (standing, "bold")
        )
    ]
    if history.fork is not None:
        parts.append(Text(printable(f"a fork of {history.fork.of_id} from {history.fork.step}")))
    if standing == "interrupted":
        parts.append(Text(f"{hint('resume', history.id)}  # continues it", "yellow"))
    parts += _doubts(history, is_running=is_running)
    for owner, at in history.owners:
        parts.append(Text(printable(f"{_moment(at)}  owner {owner}"), "dim"))
    began = began_of(history)
    for phase, at in history.phases:
        parts.append(Text(printable(f"{_moment(at)}  +{at - began:.3f} s  {phase}")))
    for step in history.steps:
        text = f"{_moment(step.at)}  {step.from_status} → {step.to}  by {step.trigger}"
        parts.append(Text(printable(text)))
    if error := failure_of(history):
        parts.append(Text(printable(error), "red"))
    parts += [Text(), *_graph(history, shows_all=shows_all), Text()]
    attempts = history.attempts if shows_all else history.attempts[-ATTEMPTS_MAX:]
    hidden = len(history.attempts) - len(attempts)
    if hidden:
        parts.append(Text(f"… {counted(hidden, 'earlier attempt')} not shown (--all)", "dim"))
    parts += [_attempt(history, attempt, began) for attempt in attempts]
    return Group(*parts)


def _doubts(history: ExecutionHistory, *, is_running: bool | None) -> Iterator[RenderableType]:
    found = doubts(history, is_gone=is_running is False)
    for doubt in found[:DOUBTS_MAX]:
        text = f"{doubt.step} may have run (attempt {doubt.attempt}): {doubt.message}"
        yield Text(printable(text), "yellow")
        command = approval(history.id, doubt.step)
        yield Text(f"{command}  # runs the step again; with --fail it fails", "yellow")
    if len(found) > DOUBTS_MAX:
        yield Text(f"… and {len(found) - DOUBTS_MAX:,} more steps wait for a decision", "yellow")


def _graph(history: ExecutionHistory, *, shows_all: bool) -> list[RenderableType]:
    if len(history.ids) > NODES_MAX and not shows_all:
        counts = Counter((node.kind, node.status) for node in nodes(history))
        lines: list[RenderableType] = [
            Text(printable(f"{kind}  {count:,} {status}"))
            for (kind, status), count in sorted(counts.items())[:NODES_MAX]
        ]
        return [Text(f"{counted(len(history.ids), 'sub-task')} (--all shows each)"), *lines]
    tree = Tree(Text(counted(len(history.ids), "sub-task")))
    branches: dict[str, Tree] = {}
    for node in nodes(history):
        # Drawn below the last sub-task that it needs. Its line names the other needs.
        above = node.needs[-1] if node.needs else node.parent
        others = f"  needs also {', '.join(node.needs[:-1])}" if len(node.needs) > 1 else ""
        error = f"  {node.error}" if node.error else ""
        line = Text(printable(f"{node.id}  {node.kind}  {node.status}{others}{error}"))
        branches[node.id] = branches.get(above or "", tree).add(line)
    return [tree]


def _attempt(history: ExecutionHistory, attempt: Attempt, began: float) -> Text:
    outcome = f"  {attempt.code}: {attempt.message}" if attempt.code else "  done"
    return Text(
        printable(
            f"+{attempt.began_at - began:.3f} s  {history.ids[attempt.task]}  "
            f"attempt {attempt.attempt} on {place_of(attempt.executor)}  "
            f"{age(attempt.took_s)}{outcome}"
        ),
        "red" if attempt.code else "",
    )


def _moment(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def began_of(history: ExecutionHistory) -> float:
    """When the execution began. A fork includes the times that it shares with its origin."""
    return min(
        [
            float(history.submitted.at or history.at),
            *(at for _, at in history.phases),
            *(attempt.began_at for attempt in history.attempts),
        ]
    )


def failure_of(history: ExecutionHistory) -> str:
    """Why the execution ended without a result; empty if it did not."""
    error = history.steps[-1].metadata.get("error") if history.steps else None
    return str(error.get("message", "")) if isinstance(error, dict) else ""
