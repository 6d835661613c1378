"""Texts with values of an alert: a small, safe part of Prometheus' templates.

`{{ $value }}` is the value of the expression, `{{ $labels.host }}` a label of its sample. Nothing
else is known: a text with anything else between double braces is refused, by its name.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import shown

__all__ = ["TEXT_CHARACTERS_MAX", "Template", "shown_value", "template"]

TEXT_CHARACTERS_MAX: Final = 4_096
FIELD: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
LABEL: Final = re.compile(r"\$labels\.([a-zA-Z_][a-zA-Z0-9_]*)\Z")
ADVICE: Final = "Templates know {{ $value }} and {{ $labels.NAME }}, without functions."


@dataclass(frozen=True, slots=True)
class Template:
    """A text, cut into its parts."""

    texts: tuple[str, ...]
    """The plain texts around the fields, one more than there are fields."""
    fields: tuple[str, ...]
    """For each field the name of its label; empty for the value."""

    @property
    def has_value(self) -> bool:
        """Whether the text changes with the value."""
        return "" in self.fields

    def render(self, value: float, labels: Iterable[tuple[str, str]]) -> str:
        """The text for these values; a label that is not there is empty."""
        if not self.fields:
            return self.texts[0]
        known: Mapping[str, str] = dict(labels)
        parts = [self.texts[0]]
        for field, text in zip(self.fields, self.texts[1:], strict=True):
            parts += (known.get(field, "") if field else shown_value(value), text)
        return "".join(parts)


@functools.lru_cache(maxsize=1_024)  # Each evaluation renders the same few texts.
def template(text: str) -> Template:
    """Read a text. Raises `UsageError` that names what is not known."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise UsageError(
            f"a text has {len(text):,} characters.",
            advice=f"Use at most {TEXT_CHARACTERS_MAX:,}.",
        )
    texts, fields, end = [], [], 0
    for found in FIELD.finditer(text):
        texts.append(_plain(text[end : found.start()]))
        fields.append(_field(found[1].strip(" \t-")))
        end = found.end()
    texts.append(_plain(text[end:]))
    return Template(tuple(texts), tuple(fields))


def _plain(text: str) -> str:
    if "{{" in text:
        raise UsageError(f"the braces in {shown(text)} do not close.", advice=ADVICE)
    return text


def _field(words: str) -> str:
    if words == "$value":
        return ""
    label = LABEL.match(words)
    if label is None:
        raise UsageError(f"{shown(words)} is not known in a template.", advice=ADVICE)
    return label[1]


def shown_value(value: float) -> str:
    """A value for people: at most six digits."""
    return f"{value:.6g}"
