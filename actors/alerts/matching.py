"""Matchers on the labels of alerts: as texts, and applied."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import shown

from ..metrics.series import Matcher, MatcherKind, MetricKind, SeriesKey

__all__ = ["MATCHERS_MAX", "Labels", "accepts", "matcher", "matcher_text", "value_of"]

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""The labels of an alert, sorted by their names."""
MATCHERS_MAX: Final = 32
FORM: Final = re.compile(
    r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^"\s=~][^"]*|)\s*\Z',
    re.DOTALL,
)
ESCAPE: Final = re.compile(r'\\(["\\n])')
ESCAPES: Final = {'"': '"', "\\": "\\", "n": "\n"}
CHARACTERS_MAX: Final = 1_024


def matcher(text: object) -> Matcher:
    """Read a matcher such as `severity="critical"` or `host=~"a.*"`. Raises `UsageError`."""
    found = FORM.match(text) if isinstance(text, str) and len(text) <= CHARACTERS_MAX else None
    if found is None:
        raise UsageError(
            f"{shown(text)} is no matcher.",
            advice="Write a label, one of = != =~ !~, and a value: severity=critical.",
        )
    value = found[3].strip()
    if value.startswith('"'):
        value = ESCAPE.sub(lambda escaped: ESCAPES[escaped[1]], value[1:-1])
    made = Matcher(found[1], MatcherKind(found[2]), value)
    if made.kind in (MatcherKind.MATCHES, MatcherKind.MATCHES_NOT):
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError) as error:
            raise UsageError(
                f"the pattern in {shown(text)} is wrong: {error}.",
                advice="Write a regular expression.",
            ) from None
    return made


def matcher_text(made: Matcher) -> str:
    """A matcher as `matcher` reads it."""
    value = made.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{made.tag}{made.kind.value}"{value}"'


def accepts(matchers: Iterable[Matcher], labels: Labels) -> bool:
    """Whether labels fulfil all matchers; a label that is not there is empty."""
    key = SeriesKey(MetricKind.GAUGE, "", labels)
    return all(each.accepts(key) for each in matchers)


def value_of(labels: Sequence[tuple[str, str]], name: str) -> str:
    """The value of a label; empty if it is not there."""
    return next((value for each, value in labels if each == name), "")
