"""The author's exonerations: `# noqa` and `# nosec` comments, and the rules that they name.

Analysers run with their own handling of these comments off. They mark the findings that a comment
excuses, so that the resolver can weigh the comment against the findings of other agents.
"""

import re
from collections.abc import Iterable
from typing import Final

from .source import SourceFile

__all__ = ["noqa_for", "nosec_for"]

_NOQA: Final = re.compile(
    r"#\s*(?P<file>(?:ruff|flake8)\s*:\s*)?noqa"
    r"(?:\s*:\s*(?P<codes>[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*))?",
    re.IGNORECASE,
)
_NOSEC: Final = re.compile(
    r"#\s*nosec\b:?\s*(?P<codes>(?:B\d{3}|[a-z_]+)(?:[,\s]+(?:B\d{3}|[a-z_]+))*)?", re.IGNORECASE
)
_SEPARATOR: Final = re.compile(r"[,\s]+")


def noqa_for(file: SourceFile, line: int, codes: Iterable[str]) -> str | None:
    """The `# noqa` that excuses any of `codes` on `line`, or None.

    `# ruff: noqa` and `# flake8: noqa` excuse the whole file.
    """
    wanted = tuple(codes)
    for at, comment in file.comments.items():
        for match in _NOQA.finditer(comment):
            if at != line and match["file"] is None:
                continue
            named = [code.upper() for code in _SEPARATOR.split(match["codes"] or "") if code]
            if not named or any(code.startswith(name) for code in wanted for name in named):
                return match[0]
    return None


def nosec_for(file: SourceFile, lines: Iterable[int], code: str, name: str) -> str | None:
    """The `# nosec` that excuses bandit's test `code` (or `name`) on one of `lines`."""
    for line in lines:
        match = _NOSEC.search(file.comments.get(line, ""))
        if match is None:
            continue
        tests = {part.lower() for part in _SEPARATOR.split(match["codes"] or "") if part}
        # As in bandit, a comment without the name of a test excuses everything.
        known = {part for part in tests if re.fullmatch(r"b\d{3}", part) or part == name.lower()}
        if not known or known & {code.lower(), name.lower()}:
            return match[0].strip()
    return None
