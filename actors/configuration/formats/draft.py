"""Components while they are read and judged, and the file that they come from."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..package import ComponentType, Finding, Severity
from ..rules import RULES

__all__ = ["Check", "Draft", "FileReading", "Reference", "SourceFile", "nearest"]

FINDINGS_MAX: Final = 500
"""Of one file; the last one says that there are more."""

Check = Callable[[str, str], Iterable[tuple[int, str]]]
"""The reader of a format that other parts of Callboard have: from path and text to the lines and
texts of its problems."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source, as it was found."""

    path: str
    """From the root of the source, with slashes."""
    data: bytes = b""
    rule: str = ""
    """The rule that it breaks by itself, such as `link-broken`; then there is no data."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a component needs."""

    type: ComponentType
    name: str
    line: int = 1
    version: str = ""


@dataclass(slots=True)
class Draft:
    """A component that is being validated."""

    type: ComponentType
    name: str
    path: str
    scope: str = ""
    """The folder in which its name is unique: a plugin, a project, or all of the source."""
    plugin: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    body: str = ""
    text: str = ""
    """All that it says, for the gate of security. Empty when another component has it."""
    body_line: int = 1
    lines: Mapping[str, int] = field(default_factory=dict)
    schema: dict[str, Any] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    references: list[Reference] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    fails_closed: bool = False
    """Whether leaving it out would permit more."""
    refusals: list[str] = field(default_factory=list)
    spares: set[str] = field(default_factory=set)
    """The codes of findings that removed one part only, such as one rule that allows."""

    @property
    def title(self) -> str:
        """The type and the whole name."""
        return f"{self.type} {self.whole_name}"

    @property
    def whole_name(self) -> str:
        """The name with its plugin."""
        return f"{self.plugin}:{self.name}" if self.plugin else self.name

    def line_of(self, name: str) -> int:
        """The line of a field, or of the nearest part around it."""
        while name:
            if name in self.lines:
                return self.lines[name]
            cut = max(name.rfind("."), name.rfind("["))
            name = name[:cut] if cut > 0 else ""
        return self.lines.get("", 1)

    def note(
        self, rule: str, message: str, *, subject: str = "", line: int = 0, name: str = ""
    ) -> None:
        """Add a finding, at a line or at a field."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(
                finding(rule, self.path, message, subject, line or self.line_of(name), self.title)
            )

    def refuse(self, why: str) -> None:
        """Leaving a part out would permit more: no part of the package may be used."""
        self.refusals.append(f"{self.path}: {why}")

    @property
    def is_rejected(self) -> bool:
        """Whether the component cannot be used."""
        return any(
            found.severity is Severity.ERROR and found.code not in self.spares
            for found in self.findings
        )


@dataclass(slots=True)
class FileReading:
    """What a reader has made of one file."""

    path: str
    drafts: list[Draft] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """Those that belong to no component."""
    is_configuration: bool = True
    refusals: list[str] = field(default_factory=list)

    def note(self, rule: str, message: str, *, subject: str = "", line: int = 1) -> None:
        """Add a finding about the file."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding(rule, self.path, message, subject, line, ""))


def finding(rule: str, path: str, message: str, subject: str, line: int, component: str) -> Finding:
    known = RULES[rule]
    # Built without validation: the parts are ours, and there are ten thousands of them.
    return Finding.model_construct(
        rule=rule,
        severity=known.severity,
        path=path,
        line=line,
        message=f"{message:.1000}",
        subject=f"{subject:.200}",
        component=f"{component:.200}",
        suggestion=known.suggestion,
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice with the known name that is most like this one; empty when none is."""
    import difflib

    found = difflib.get_close_matches(name, list(known), 1, 0.75)
    return f" Is {found[0]} meant?" if found else ""
