"""`report.html`: one self-contained page, also for tens of thousands of findings.

The findings are embedded as data. `page.js` renders them in pages and only sets text, so nothing in
a source tree can become markup. The page's security policy forbids every other script and every
request.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

from ..finding import Finding, Severity
from .excerpts import sources_of
from .model import Report

__all__ = ["render_html"]

_ASSETS: Final = Path(__file__).parent


def render_html(
    report: Report, timings: Mapping[str, float] | None = None, *, root: Path | None = None
) -> bytes:
    """The report as one self-contained page, with source lines and links if `root` is the tree."""
    script = (_ASSETS / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    placeholders = {
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "title": escape(f"Review of {report.source}"),
        "source": escape(report.source),
        "facts": escape(_facts(report, timings)),
        "notes": "".join(f'<p class="note">{escape(note)}</p>' for note in report.notes),
        "tiles": _tiles(report),
        "agents": _bars(report.summary.by_agent, "agent"),
        "topics": _bars(report.summary.top_topics, "topic"),
        "files": _bars(report.summary.top_files, "path"),
        "policies": _policies(report),
        "style": (_ASSETS / "page.css").read_text(encoding="utf-8"),
        "data": _embedded([_row(finding) for finding in report.findings]),
        "sources": _embedded({} if root is None else sources_of(report.findings, root)),
        "script": script,
    }
    page = (_ASSETS / "page.html").read_text(encoding="utf-8")
    parts = page.split("{{")
    # Filled in one pass, so that content that resembles a placeholder stays content.
    filled = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition("}}")
        filled += [placeholders[name], rest]
    return "".join(filled).encode()


def _facts(report: Report, timings: Mapping[str, float] | None) -> str:
    summary = report.summary
    facts = [
        f"{summary.files:,} files",
        f"{summary.lines:,} lines",
        f"{len(report.agents)} agents",
        f"{summary.claims:,} claims resolved into {summary.findings:,} findings",
    ]
    if timings and "total_s" in timings:
        facts.append(f"{timings['total_s']:.1f} s")
    return " · ".join(facts)


def _tiles(report: Report) -> str:
    tiles = []
    for severity in reversed(Severity):
        count = report.summary.by_severity.get(severity, 0)
        empty = "" if count else " empty"
        tiles.append(
            f'<button type="button" class="tile {severity}{empty}" data-severity="{severity}" '
            f'aria-pressed="true"><span class="count">{count:,}</span>'
            f'<span class="label">{severity}</span></button>'
        )
    return "".join(tiles)


def _bars(counts: Mapping[str, int], kind: str) -> str:
    most = max(counts.values(), default=0) or 1
    rows = []
    for name, count in counts.items():
        shown = escape(name, quote=True)
        rows.append(
            f'<li><button type="button" data-{kind}="{shown}" title="{shown}">'
            f'<span class="name">{shown}</span><span class="number">{count:,}</span>'
            f'<span class="bar" style="width:{100 * count / most:.1f}%"></span></button></li>'
        )
    return "".join(rows) or '<li class="none">nothing</li>'


def _policies(report: Report) -> str:
    return "".join(
        f'<option value="{escape(policy, quote=True)}">{escape(policy.replace("-", " "))} '
        f"({count:,})</option>"
        for policy, count in report.summary.by_policy.items()
    )


def _embedded(data: object) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # With these escaped, the data cannot form a tag, a comment or a line separator.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _row(finding: Finding) -> list[Any]:
    """A finding in the order that page.js expects."""
    claims = []
    if finding.resolution is not None:
        claims = [
            [claim.agent, claim.rule, claim.severity, claim.confidence, claim.message]
            for claim in finding.resolution.claims
        ]
    return [
        finding.path,
        finding.line,
        finding.column or 0,
        finding.severity.rank,
        finding.confidence,
        finding.topic,
        finding.rule,
        finding.message,
        list(finding.agents),
        finding.resolution.policy if finding.resolution else "",
        finding.resolution.text if finding.resolution else "",
        claims,
        finding.exoneration or "",
    ]
