"""A report as data: the findings, the reviewed tree, and counts of both.

It is equal for all runs over the same tree. Timings are separate.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict

from ..finding import Finding, Severity
from ..tree import SourceTree

__all__ = ["Report", "Summary", "build_report"]

TOP_MAX: Final = 10
"""Entries in each list of the most frequent items."""


class Summary(BaseModel):
    """Counts of the findings. Each mapping is in the order of display."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: int
    lines: int
    size_bytes: int
    findings: int
    claims: int
    by_severity: Mapping[str, int]
    by_agent: Mapping[str, int]
    by_policy: Mapping[str, int]
    top_topics: Mapping[str, int]
    top_files: Mapping[str, int]


class Report(BaseModel):
    """The result of a review."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    agents: tuple[str, ...]
    notes: tuple[str, ...]
    summary: Summary
    findings: tuple[Finding, ...]


def build_report(tree: SourceTree, agents: Iterable[str], findings: Sequence[Finding]) -> Report:
    """The report on `tree` of resolved `findings`."""
    named = tuple(sorted(agents))
    return Report(
        source=tree.name,
        agents=named,
        notes=tree.notes,
        summary=_summarise(tree, named, findings),
        findings=tuple(sorted(findings, key=lambda finding: finding.sort_key)),
    )


def _summarise(tree: SourceTree, agents: Sequence[str], findings: Sequence[Finding]) -> Summary:
    severities = Counter(finding.severity for finding in findings)
    said = Counter(agent for finding in findings for agent in finding.agents)
    resolutions = [finding.resolution for finding in findings if finding.resolution is not None]
    policies = Counter(str(resolution.policy) for resolution in resolutions)
    resolved = sum(len(resolution.claims) for resolution in resolutions)
    return Summary(
        files=len(tree.paths),
        lines=tree.lines,
        size_bytes=tree.size_bytes,
        findings=len(findings),
        claims=resolved + len(findings) - len(resolutions),
        by_severity={str(level): severities[level] for level in reversed(Severity)},
        by_agent={agent: said[agent] for agent in agents},
        by_policy=dict(sorted(policies.items())),
        top_topics=_top(Counter(finding.topic for finding in findings)),
        top_files=_top(Counter(finding.path for finding in findings)),
    )


def _top(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP_MAX])
