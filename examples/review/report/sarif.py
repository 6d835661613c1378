"""`report.sarif`: SARIF 2.1.0, for code scanning services and editors.

A finding that the author excuses has a suppression in SARIF. Paths are relative to `SRCROOT`, which
the reader of the file supplies.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final, assert_never
from urllib.parse import quote

from ..finding import Finding, Severity
from .model import Report

__all__ = ["SCHEMA_URI", "render_sarif"]

SCHEMA_URI: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
SECURITY_SCORES: Final = {
    Severity.INFO: "1.0",
    Severity.LOW: "3.0",
    Severity.MEDIUM: "5.5",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.5",
}
SECURITY_AGENTS: Final = frozenset({"bandit"})


def render_sarif(report: Report) -> bytes:
    """The report as one SARIF run."""
    rules = sorted({finding.rule for finding in report.findings})
    index_of = {rule: index for index, rule in enumerate(rules)}
    log = {
        "$schema": SCHEMA_URI,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "callboard-review",
                        "fullName": f"Callboard review: {', '.join(report.agents)}",
                        "rules": _rules(rules, report.findings),
                    }
                },
                "invocations": [{"executionSuccessful": True}],
                "originalUriBaseIds": {
                    "SRCROOT": {"description": {"text": f"The root of {report.source}."}}
                },
                "columnKind": "unicodeCodePoints",
                "results": _results(report.findings, index_of),
            }
        ],
    }
    return (json.dumps(log, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def _rules(rules: Sequence[str], findings: Sequence[Finding]) -> list[dict[str, Any]]:
    worst: dict[str, Severity] = {}
    topics: dict[str, str] = {}
    for finding in findings:
        known = worst.get(finding.rule, Severity.INFO)
        worst[finding.rule] = max(known, finding.severity, key=lambda severity: severity.rank)
        topics[finding.rule] = finding.topic
    described = []
    for rule in rules:
        words = topics[rule].replace("-", " ")
        properties: dict[str, Any] = {"tags": [topics[rule]]}
        if rule.partition("/")[0] in SECURITY_AGENTS:
            properties["tags"].append("security")
            properties["security-severity"] = SECURITY_SCORES[worst[rule]]
        described.append(
            {
                "id": rule,
                "shortDescription": {"text": f"{words[:1].upper()}{words[1:]} ({rule})."},
                "defaultConfiguration": {"level": _level(worst[rule])},
                "properties": properties,
            }
        )
    return described


def _level(severity: Severity) -> str:
    match severity:
        case Severity.CRITICAL | Severity.HIGH:
            return "error"
        case Severity.MEDIUM:
            return "warning"
        case Severity.LOW | Severity.INFO:
            return "note"
        case _:
            assert_never(severity)


def _results(findings: Sequence[Finding], index_of: dict[str, int]) -> list[dict[str, Any]]:
    seen: dict[str, int] = {}
    results = []
    for finding in findings:
        # Without the line, so that a fingerprint survives edits above it. The count separates equal
        # ones.
        identity = f"{finding.path}\0{finding.topic}\0{finding.subject}\0{finding.message}"
        digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
        seen[digest] = seen.get(digest, 0) + 1
        results.append(_result(finding, index_of[finding.rule], f"{digest}:{seen[digest]}"))
    return results


def _result(finding: Finding, rule_index: int, fingerprint: str) -> dict[str, Any]:
    region = {"startLine": finding.line}
    if finding.column is not None:
        region["startColumn"] = finding.column
    properties: dict[str, Any] = {
        "severity": str(finding.severity),
        "confidence": finding.confidence,
        "agents": list(finding.agents),
        "topic": finding.topic,
    }
    if finding.resolution is not None:
        properties["settledBy"] = str(finding.resolution.policy)
        properties["resolution"] = finding.resolution.text
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": rule_index,
        "level": _level(finding.severity),
        "message": {"text": finding.message},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(finding.path), "uriBaseId": "SRCROOT"},
                    "region": region,
                }
            }
        ],
        "partialFingerprints": {"callboardReview/v1": fingerprint},
        "rank": round(finding.confidence * 100, 1),
        "properties": properties,
    }
    if finding.exoneration is not None:
        result["suppressions"] = [{"kind": "inSource", "justification": finding.exoneration}]
    return result
