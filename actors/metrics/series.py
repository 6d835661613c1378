"""Series: what a metric's points belong to, and how a reader selects some of them."""

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from callboard.messages.core.errors import UsageError

__all__ = ["Matcher", "MatcherKind", "MetricKind", "SeriesKey", "series_key"]

NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
"""What Prometheus allows as the name of a metric."""
TAG: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
"""What Prometheus allows as the name of a tag."""
NAME_CHARACTERS_MAX: Final = 200
TAGS_MAX: Final = 32
TAG_CHARACTERS_MAX: Final = 1_024


@enum.unique
class MetricKind(enum.IntEnum):
    """What the points of a series mean."""

    COUNTER = 0
    """Each point is an increase: the sum of a window is what was counted in it."""
    GAUGE = 1
    """Each point is a present value."""
    OBSERVATION = 2
    """Each point is one measurement of many, such as a duration."""


class SeriesKey(NamedTuple):
    """One series: a kind, a metric's name, and its tags, sorted by their names."""

    kind: MetricKind
    """What its points mean."""
    name: str
    """The metric's name."""
    tags: tuple[tuple[str, str], ...] = ()
    """The names and values of its tags, sorted by name."""

    def tag(self, name: str) -> str:
        """The value of a tag; empty if the series does not have it, as in Prometheus."""
        for each, value in self.tags:
            if each == name:
                return value
        return ""


def series_key(kind: MetricKind, name: str, tags: Mapping[str, str] | None = None) -> SeriesKey:
    """Make a checked key. Raises `UsageError` for a name, a tag or a number of tags out of bounds.

    A tag with an empty value is the same as no tag, and is left out.
    """
    if not isinstance(name, str) or len(name) > NAME_CHARACTERS_MAX or not NAME.match(name):
        raise UsageError(
            f"{_shown(name)} is no name of a metric.",
            advice=f"Use letters, digits, '_' and ':', at most {NAME_CHARACTERS_MAX} of them, "
            "and no digit first.",
        )
    if not tags:
        return SeriesKey(kind, name)
    if len(tags) > TAGS_MAX:
        raise UsageError(
            f"metric {name} has {len(tags)} tags.", advice=f"Use at most {TAGS_MAX} tags."
        )
    return SeriesKey(kind, name, tuple(sorted(_checked(name, tags.items()))))


def _checked(name: str, tags: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    for tag, value in tags:
        if not isinstance(tag, str) or len(tag) > NAME_CHARACTERS_MAX or not TAG.match(tag):
            raise UsageError(
                f"metric {name}: {_shown(tag)} is no name of a tag.",
                advice="Use letters, digits and '_', and no digit first.",
            )
        if not isinstance(value, str):
            raise UsageError(
                f"metric {name}: the tag {tag} is {_shown(value)}, which is no text.",
                advice="Pass the value as a string.",
            )
        if len(value) > TAG_CHARACTERS_MAX:
            raise UsageError(
                f"metric {name}: the tag {tag} has {len(value):,} characters.",
                advice=f"Use at most {TAG_CHARACTERS_MAX:,}.",
            )
        if value:
            yield tag, value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@enum.unique
class MatcherKind(enum.Enum):
    """How a matcher compares the value of a tag."""

    IS = "="
    IS_NOT = "!="
    MATCHES = "=~"
    MATCHES_NOT = "!~"


class Matcher(NamedTuple):
    """A condition on one tag; the tag `__name__` is the metric's name.

    A pattern has to match the whole value. A tag that a series does not have is empty.
    """

    tag: str
    """The name of the tag."""
    kind: MatcherKind
    """How its value is compared."""
    value: str
    """What it is compared with: a value, or a pattern."""

    def accepts(self, key: SeriesKey) -> bool:
        """Whether a series fulfils the condition."""
        value = key.name if self.tag == "__name__" else key.tag(self.tag)
        match self.kind:
            case MatcherKind.IS:
                return value == self.value
            case MatcherKind.IS_NOT:
                return value != self.value
            case MatcherKind.MATCHES:
                return re.fullmatch(self.value, value) is not None
            case MatcherKind.MATCHES_NOT:
                return re.fullmatch(self.value, value) is None
