"""`report.json`: everything, for programs.

Keys have a fixed order. `timings` comes last and is the only part that may differ between two runs
over the same tree. `canonical` removes it.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from callboard.errors import InvalidMessage

from ..finding import Finding
from .model import Report

__all__ = ["FORMAT_VERSION", "canonical", "render_json"]

FORMAT_VERSION: Final = 1


def render_json(report: Report, timings: Mapping[str, float] | None = None) -> bytes:
    """The report as JSON, with one finding per line so that two reports can be compared."""
    head = {
        "format": FORMAT_VERSION,
        "source": report.source,
        "agents": list(report.agents),
        "notes": list(report.notes),
        "summary": report.summary.model_dump(mode="json"),
    }
    parts = [f"{_dump(key)}: {_dump(value)}" for key, value in head.items()]
    lines = ",\n".join(_dump(_plain(finding)) for finding in report.findings)
    parts.append(f'"findings": [\n{lines}\n]' if lines else '"findings": []')
    rounded = {key: round(value, 3) for key, value in (timings or {}).items()}
    parts.append(f'"timings": {_dump(rounded)}')
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def canonical(report_json: bytes) -> bytes:
    """The part that must be equal for all ways to run the same review.

    Raises InvalidMessage when `report_json` is not a report.
    """
    try:
        data = json.loads(report_json)
    except ValueError as error:
        raise InvalidMessage("the report is not JSON.", advice="Run the review again.") from error
    if not isinstance(data, dict) or "findings" not in data:
        raise InvalidMessage("the JSON is not a report: it has no findings.")
    data.pop("timings", None)
    return (_dump(data) + "\n").encode()


def _plain(finding: Finding) -> dict[str, Any]:
    """The finding without unset fields: most findings have no resolution."""
    return finding.model_dump(mode="json", exclude_none=True)


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
