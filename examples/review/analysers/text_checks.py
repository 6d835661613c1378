"""Checks on the text alone: secrets, merge markers, deceptive characters.

They need no syntax tree, so they also work on files that no parser accepts. A message never repeats
a secret, because reports travel further than sources.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from ..finding import Finding, Severity
from ..source import SourceFile
from .protocol import PerFileAnalyser, raw_finding

__all__ = ["TextChecks"]

ENTROPY_BITS_MIN: Final = 3.0
"""Per character. English words have about 2.5, random letters and digits about 4."""

_PRIVATE_KEY: Final = re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s*[A-Za-z0-9+/\\]{16}")
_KNOWN_TOKEN: Final = re.compile(
    r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[abpr]-[A-Za-z0-9-]{20,}"
    r"|sk_live_[A-Za-z0-9]{20,}|AIza[0-9A-Za-z_-]{35})\b"
)
_CREDENTIAL: Final = re.compile(
    r"(?i:\b\w*(?:passw(?:or)?d|passwd|secret|api_?key|access_?key|auth_?token|token)\w*)"
    r"['\"]?\]?[ \t]*[:=][ \t]*(?P<quote>['\"])(?P<value>[^'\"\s]{8,})(?P=quote)"
)
_MERGE_MARKER: Final = re.compile(r"^(?:<{7} |>{7} |={7}$)", re.MULTILINE)
_MERGE_START: Final = re.compile(r"^<{7} ", re.MULTILINE)
_BIDIRECTIONAL: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_TRAILING: Final = re.compile(r"[ \t]+$", re.MULTILINE)
_MIXED_INDENT: Final = re.compile(r"^(?: +\t|\t+ +\t)", re.MULTILINE)
_REMINDER: Final = re.compile(r"#[ \t]*(TODO|FIXME|XXX|HACK)\b")


class TextChecks(PerFileAnalyser):
    """Credentials in the source, unresolved merges, bidirectional text, reminders."""

    name = "text"
    needs_tree = False

    def check(self, file: SourceFile) -> Iterator[Finding]:
        """All text checks on one file."""
        yield from self._secrets(file)
        text = file.text
        if _MERGE_START.search(text):
            for match in _MERGE_MARKER.finditer(text):
                yield self._at(file, match.start(), "merge-marker", "a merge was not finished here",
                               Severity.CRITICAL, 0.9)  # fmt: skip
        for match in _BIDIRECTIONAL.finditer(text):
            message = f"U+{ord(match[0]):04X} makes text look other than it is read"
            yield self._at(file, match.start(), "bidirectional-text", message, Severity.HIGH, 0.9)
        for match in _TRAILING.finditer(text):
            yield self._at(file, match.start(), "trailing-whitespace",
                           "white space at the end of the line", Severity.INFO, 0.9)  # fmt: skip
        for match in _MIXED_INDENT.finditer(text):
            yield self._at(file, match.start(), "mixed-indentation",
                           "indented by blanks, then a tab", Severity.LOW, 0.7)  # fmt: skip
        for match in _REMINDER.finditer(text):
            message = f"the author left a {match[1]} here"
            yield self._at(file, match.start(), "reminder", message, Severity.INFO, 0.9)

    def _secrets(self, file: SourceFile) -> Iterator[Finding]:
        for match in _PRIVATE_KEY.finditer(file.text):
            yield self._at(file, match.start(), "private-key", "a private key stands in the source",
                           Severity.CRITICAL, 0.95)  # fmt: skip
        for match in _KNOWN_TOKEN.finditer(file.text):
            message = "looks like a token of a well-known service"
            yield self._at(
                file, match.start(), "hardcoded-secret", message, Severity.CRITICAL, 0.85
            )
        for match in _CREDENTIAL.finditer(file.text):
            if _entropy_bits(match["value"]) >= ENTROPY_BITS_MIN and _is_mixed(match["value"]):
                message = "a name of a credential is given a value that looks random"
                start = match.start()
                yield self._at(file, start, "hardcoded-secret", message, Severity.HIGH, 0.7)

    def _at(
        self,
        file: SourceFile,
        offset: int,
        topic: str,
        message: str,
        severity: Severity,
        confidence: float,
    ) -> Finding:
        line, column = file.position(offset)
        return raw_finding(
            self.name,
            topic,
            file.path,
            line,
            message,
            severity=severity,
            confidence=confidence,
            column=column,
        )


def _entropy_bits(text: str) -> float:
    total = len(text)
    shares = [count / total for count in sorted(Counter(text).values())]
    return -sum(share * math.log2(share) for share in shares)


def _is_mixed(text: str) -> bool:
    return any(character.isdigit() for character in text) and any(
        character.isalpha() for character in text
    )
