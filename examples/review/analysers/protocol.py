"""The protocol of analysers: a name, and a pure function from files to raw findings."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Protocol

from ..finding import Finding, Severity
from ..source import Problem, SourceFile
from ..topics import topic_of

__all__ = ["Analyser", "PerFileAnalyser", "problem_finding", "raw_finding"]

_FIRST_WORD: Final = re.compile(r"[a-z]+[ ,]")


class Analyser(Protocol):
    """An analyser. It treats each file alone, so the batches do not affect the findings."""

    @property
    def name(self) -> str:
        """The agent's name in findings."""
        ...

    def analyse_many(self, files: Sequence[SourceFile]) -> list[tuple[Finding, ...]]:
        """The raw findings of each file, in the order of `files`.

        Never raises because of a file: a file that cannot be analysed is a finding.
        """
        ...


def raw_finding(
    agent: str,
    code: str,
    path: str,
    line: int,
    message: str,
    *,
    severity: Severity,
    confidence: float,
    column: int | None = None,
    name: str = "",
    subject: str = "",
    exoneration: str | None = None,
) -> Finding:
    """A finding of one agent, with its topic. `name` is the name of the rule, in words."""
    return Finding(
        path=path,
        line=max(1, line),
        column=None if column is None else max(1, column),
        topic=topic_of(agent, code, name),
        subject=subject,
        rule=f"{agent}/{code}",
        message=_sentence(message),
        severity=severity,
        confidence=confidence,
        agents=(agent,),
        exoneration=exoneration,
    )


def _sentence(text: str) -> str:
    # A name at the begin of the message (`tarfile.extractall`) keeps its case.
    return text[:1].upper() + text[1:] if _FIRST_WORD.match(text) else text


def problem_finding(agent: str, path: str, problem: Problem) -> Finding:
    """The finding for a file's problem. Its rule has no agent as a prefix."""
    return Finding(
        path=path,
        line=max(1, problem.line),
        topic=problem.rule,
        rule=problem.rule,
        message=_sentence(problem.message),
        severity=problem.severity,
        confidence=1.0,
        agents=(agent,),
    )


class PerFileAnalyser(ABC):
    """An analyser that works in this process, one file after another.

    A subclass defines `name` and `check`. It sets `needs_tree` to False when text is enough.
    """

    name: ClassVar[str]
    needs_tree: ClassVar[bool] = True

    @abstractmethod
    def check(self, file: SourceFile) -> Iterable[Finding]:
        """The raw findings of one file without a problem."""

    def analyse(self, file: SourceFile) -> tuple[Finding, ...]:
        """The raw findings of one file, sorted. Every failure is a finding."""
        problem = file.parse_problem if self.needs_tree else file.problem
        if problem is not None:
            return (problem_finding(self.name, file.path, problem),)
        try:
            return tuple(sorted(set(self.check(file)), key=lambda finding: finding.sort_key))
        except Exception as error:  # noqa: BLE001 - a defect of a library must not end the review
            # Only the type, because messages of libraries contain addresses and paths.
            message = f"{self.name} failed with {type(error).__name__}: not analysed by it"
            failed = Problem("analyser-failed", message, Severity.LOW)
            return (problem_finding(self.name, file.path, failed),)

    def analyse_many(self, files: Sequence[SourceFile]) -> list[tuple[Finding, ...]]:
        """The raw findings of each file, in the order of `files`."""
        return [self.analyse(file) for file in files]
