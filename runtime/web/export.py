"""An execution as one file of HTML, which needs no server, no network and no other file.

The file holds the answers of the API and the modules of the live page that draw them, so both show
the same. Texts of users are data in it: JSON in which no `<` is left, and text nodes made of it.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from callboard.actors.executions.history.fold import ExecutionHistory

from ..admin.analysis import Analysis
from ..admin.reports import Live, sub_tasks_of, view_of
from ..admin.timeline import timeline_of
from ..admin.views import ExecutionView, QuerySubTasks, QueryTimeline, SubTaskRow, Timeline

__all__ = ["exported", "exported_history"]

STATIC: Final = Path(__file__).parent / "static"
ENTRY: Final = "offline.js"
BARS_MAX: Final = 10_000
"""The most bars of a timeline in the file: nothing more can be asked for later."""
ROWS_MAX: Final = 10_000
"""The most sub-tasks in the file."""
FAILURES_MAX: Final = 20
"""The failures that are text in the file, for readers without JavaScript."""
IMPORT: Final = re.compile(r'^import \{([^}]*)\} from "\./([^"]+)";\n', re.MULTILINE)
EXPORT: Final = re.compile(r"^export ((?:async )?(?:function|class|const)) (\w+)", re.MULTILINE)
NO_MARKUP: Final = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def exported_history(history: ExecutionHistory, live: Live | None) -> str:
    """The file of an execution from its history; `live` is None when no process runs it."""
    times = Analysis(history)
    # Without the check of the bounds, which are those of one answer over the network.
    rows = sub_tasks_of(
        history, times, QuerySubTasks.model_construct(execution_id=history.id, limit=ROWS_MAX)
    ).items
    timelines = {
        by: timeline_of(
            history,
            times,
            QueryTimeline.model_construct(execution_id=history.id, by=by, bars_max=BARS_MAX),
        )
        for by in ("kind", "executor")
    }
    return exported(view_of(history, live), timelines, rows)


def exported(
    view: ExecutionView, timelines: Mapping[str, Timeline], sub_tasks: Sequence[SubTaskRow]
) -> str:
    """The file of an execution from answers of the API; timelines are by `kind` and `executor`.

    It states how many sub-tasks are left off, if not all are given.
    """
    left_off = view.sub_tasks - len(sub_tasks)
    data = {
        "execution": view.model_dump(mode="json"),
        "timelines": {by: found.model_dump(mode="json") for by, found in timelines.items()},
        "sub_tasks": [row.model_dump(mode="json") for row in sub_tasks],
        "note": f"{left_off:,} sub-tasks are left off." if left_off > 0 else "",
    }
    script, style = _script(), (STATIC / "style.css").read_text(encoding="utf-8")
    title = html.escape(f"{view.job} · {view.status.replace('_', ' ')}")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head>"
        f'<body class="exported">{_text(view)}'
        f'<script type="application/json" id="execution">{_json(data)}</script>'
        f'<script type="module">{script}</script></body></html>\n'
    )


def _text(view: ExecutionView) -> str:
    """What a reader without JavaScript sees: the header and the newest failures."""
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(view.counts.items()))
    failures = "".join(
        f"<li>{html.escape(' '.join(filter(None, (one.sub_task, one.message))))}</li>"
        for one in view.failures[:FAILURES_MAX]
    )
    return (
        f'<noscript><div class="view"><h1>{html.escape(view.job)}: {html.escape(view.status)}</h1>'
        f"<p>{html.escape(view.id)}</p><p>{view.sub_tasks:,} sub-tasks: "
        f"{html.escape(counts) or 'no plan yet'}</p><ul>{failures}</ul>"
        "<p>The timeline and the tables need JavaScript.</p></div></noscript>"
    )


def _json(data: Any) -> str:
    """JSON that no parser of HTML can take for markup."""
    return json.dumps(data, separators=(",", ":")).translate(NO_MARKUP)


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _script() -> str:
    """The modules that the file needs, in one script: each is a function of its own."""
    parts: dict[str, str] = {}
    _add(ENTRY, parts)
    return "const modules = {};\n" + "".join(parts.values())


def _add(name: str, parts: dict[str, str]) -> None:
    """Add a module after those that it imports."""
    text = (STATIC / name).read_text(encoding="utf-8")
    for _, needed in IMPORT.findall(text):
        if needed not in parts:
            _add(needed, parts)
    exports = ", ".join(found for _, found in EXPORT.findall(text))
    body = EXPORT.sub(r"\1 \2", IMPORT.sub(r'const {\1} = modules["\2"];\n', text))
    parts[name] = f'modules["{name}"] = (() => {{\n{body}\nreturn {{ {exports} }};\n}})();\n'
