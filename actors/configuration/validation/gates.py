"""All gates over the files of a source: one result with all findings, and the package.

Each gate is a function; `stages.py` makes stages of pipelines of them. One bad part taints itself
only. Where leaving a part out would permit more, the package is refused.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from callboard.messages.core.errors import CallboardError
from callboard.messages.core.yaml_fields import Problems

from ..formats.draft import Check, Draft, FileReading, SourceFile, finding
from ..formats.read import OWN_FOLDER, Profile, Scopes, read_file
from ..package import (
    ComponentType,
    ConfigurationComponent,
    ConfigurationMetadata,
    ConfigurationPackage,
    Finding,
    Severity,
    ValidationResult,
    plain,
)
from .compatibility import check_compatibility
from .policy import Policy, check_conditions, read_policy
from .security import SecretScanner, check_secrets, check_security
from .semantics import check_semantics, dependencies_of

__all__ = [
    "Judged",
    "Terms",
    "compatibility",
    "finish",
    "schema",
    "security",
    "semantics",
    "validate",
]

FINDINGS_MAX: Final = 100_000
TEXTS: Final = frozenset(
    {ComponentType.AGENT, ComponentType.COMMAND, ComponentType.SKILL, ComponentType.INSTRUCTION}
)


@dataclass(frozen=True, slots=True)
class Terms:
    """By what a source is judged."""

    profile: Profile = "product"
    policy: Policy = field(default_factory=Policy)
    is_strict: bool = False
    """Whether one rejected component refuses the package."""
    checks: Mapping[str, Check] = field(default_factory=dict)
    """Readers of Callboard's own formats, by folder."""
    scanner: SecretScanner | None = None
    known: Collection[tuple[ComponentType, str]] = ()
    """Components that are there outside of the package."""
    before: Sequence[ConfigurationPackage] = ()
    """The packages that are in use, the newest first."""


@dataclass(slots=True)
class Judged:
    """A source on its way through the gates."""

    terms: Terms
    readings: list[FileReading] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """Those of the package as a whole."""
    policy: Policy = field(default_factory=Policy)

    @property
    def drafts(self) -> list[Draft]:
        """The components of all files."""
        return [draft for reading in self.readings for draft in reading.drafts]


def validate(
    files: Iterable[SourceFile],
    terms: Terms | None = None,
    *,
    timestamp: datetime,
    metadata: ConfigurationMetadata | None = None,
) -> tuple[ConfigurationPackage, ValidationResult]:
    """Read and judge all files. The package has what was accepted: nothing when it is refused."""
    judged = Judged(terms or Terms())
    schema(judged, files)
    semantics(judged)
    security(judged)
    compatibility(judged)
    return finish(judged, timestamp=timestamp, metadata=metadata)


def schema(judged: Judged, files: Iterable[SourceFile]) -> None:
    """The first gate: every file is read by the reader of its kind, and held against its table."""
    held = sorted(files, key=lambda file: file.path)
    scopes = Scopes({file.path for file in held})
    schemas = {file.path: file.data for file in held if file.path.endswith(".schema.json")}
    terms = judged.terms
    judged.policy = terms.policy
    for file in held:
        reading = read_file(
            file, scopes, profile=terms.profile, checks=terms.checks, schemas=schemas
        )
        judged.readings.append(reading)
        if file.path.endswith((f"{OWN_FOLDER}/policy.yaml", f"{OWN_FOLDER}/policy.yml")):
            problems = Problems()
            text = file.data.decode("utf-8", "replace")
            own = read_policy(text, file.path, problems, of_package=True)
            for problem in problems.found:
                reading.note("policy-broken", f"{problem.text}.", line=problem.line)
            if problems.found:
                reading.refusals.append(f"{file.path}: the policy is broken, and could forbid.")
            judged.policy = judged.policy.raised_by(own)


def semantics(judged: Judged) -> None:
    """The second gate: names, references, circles, and the conditions of the policy."""
    drafts = judged.drafts
    check_semantics(drafts, judged.terms.known)
    for draft in drafts:
        check_conditions(judged.policy, draft)


def security(judged: Judged) -> None:
    """The third gate."""
    for draft in judged.drafts:
        check_security(draft)
        if judged.terms.scanner is not None:
            check_secrets(draft, judged.terms.scanner)


def compatibility(judged: Judged) -> None:
    """The fourth gate."""
    judged.findings += check_compatibility(judged.drafts, judged.terms.before, judged.policy)


def finish(
    judged: Judged, *, timestamp: datetime, metadata: ConfigurationMetadata | None = None
) -> tuple[ConfigurationPackage, ValidationResult]:
    """The package of what was accepted, and all findings with the policy's severities."""
    refusals: list[str] = []
    files: dict[str, str] = {}
    findings = [_ruled(one, judged.policy) for one in judged.findings]
    accepted: list[Draft] = []
    components: list[ConfigurationComponent] = []
    for reading in judged.readings:
        reading.findings = [_ruled(one, judged.policy) for one in reading.findings]
        refusals += reading.refusals
        found = list(reading.findings)
        is_rejected = any(one.severity is Severity.ERROR for one in reading.findings)
        for draft in reading.drafts:
            draft.findings = [_ruled(one, judged.policy) for one in draft.findings]
            component = None if draft.is_rejected else _component(draft)
            found += draft.findings
            refusals += draft.refusals
            if component is not None:
                accepted.append(draft)
                components.append(component)
                continue
            is_rejected = True
            if draft.fails_closed and not draft.refusals:
                refusals.append(
                    f"{draft.path}: {draft.title} is rejected, and without it more is permitted."
                )
        findings += found
        files[reading.path] = _outcome(reading, found, is_rejected=is_rejected)
    if judged.terms.is_strict and any(one.severity is Severity.ERROR for one in findings):
        refusals.append("the validation is strict, and a part is rejected.")
    findings.sort(key=lambda one: (one.path, one.line, one.rule))
    result = ValidationResult(
        findings=tuple(findings[:FINDINGS_MAX]), refusals=tuple(refusals), files=files
    )
    package = ConfigurationPackage.of(
        () if refusals else components,
        timestamp=timestamp,
        dependencies=() if refusals else tuple(dependencies_of(accepted)),
        metadata=metadata,
    )
    return package, result


def _ruled(one: Finding, policy: Policy) -> Finding:
    if not policy.severities or one.rule == "policy-violated":
        return one
    severity = policy.severity_of(one.rule)
    return one if severity is one.severity else one.model_copy(update={"severity": severity})


def _component(draft: Draft) -> ConfigurationComponent | None:
    """The component of a draft; None, with a finding, when it cannot be plain values."""
    content: dict[str, Any] = dict(draft.fields)
    if draft.type in TEXTS:
        content = {"fields": content, "body": draft.body, "tools": draft.tools}
    try:
        return ConfigurationComponent(
            type=draft.type,
            name=draft.whole_name,
            content=plain(content),
            content_schema=draft.schema,
            validation=ValidationResult(findings=tuple(draft.findings)),
            path=draft.path,
        )
    except (CallboardError, ValueError, RecursionError) as error:
        message = f"it cannot be stored: {error!s:.200}."
        draft.findings.append(
            finding("wrong-value", draft.path, message, "", draft.line_of(""), draft.title)
        )
        return None


def _outcome(reading: FileReading, found: Sequence[Finding], *, is_rejected: bool) -> str:
    if is_rejected:
        return "rejected"
    if not reading.is_configuration and not found:
        return "ignored"
    return "findings" if found else "accepted"
