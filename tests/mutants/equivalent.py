"""The list of mutants that change nothing that anybody could see, with a reason each."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from .mutants import Mutant

__all__ = ["LIST", "Entry", "Equivalents", "entry_for"]

LIST: Final = Path(__file__).with_name("equivalent.toml")


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One listed mutant: all that it is known by but a line number."""

    file: str
    function: str
    operator: str
    source: str
    becomes: str
    """The line that stands in place of `source`."""
    reason: str

    def __post_init__(self) -> None:
        if not all(value.strip() for value in (self.file, self.source, self.becomes, self.reason)):
            raise ValueError(f"{self} has an empty field: name file, lines and reason")


@final
@dataclass(slots=True)
class Equivalents:
    """The listed mutants, and which of them exist."""

    entries: list[Entry]
    _met: set[Entry] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path = LIST) -> "Equivalents":
        """The list of a file; raises `TypeError` or `ValueError` if an entry is not complete."""
        with path.open("rb") as file:
            return cls([Entry(**entry) for entry in tomllib.load(file).get("equivalent", [])])

    def entry_of(self, mutant: Mutant, text: str) -> Entry | None:
        """The entry of a mutant of a file with this text, if it is listed."""
        for entry in self.entries:
            listed = (entry.file, entry.function, entry.operator, entry.source)
            named = (mutant.file, mutant.function, mutant.operator, mutant.source)
            if named == listed and mutant.becomes(text) == entry.becomes:
                self._met.add(entry)
                return entry
        return None

    def unmet(self) -> Iterable[Entry]:
        """The entries that are no mutant's any more: the code has changed."""
        return [entry for entry in self.entries if entry not in self._met]


def entry_for(mutant: Mutant, text: str) -> str:
    """The lines that list a mutant, for people who fill in the reason."""
    fields = {
        "file": mutant.file,
        "function": mutant.function,
        "operator": mutant.operator,
        "source": mutant.source,
        "becomes": mutant.becomes(text),
        "reason": "",
    }
    return "\n".join(["[[equivalent]]", *(f"{key} = {_quoted(v)}" for key, v in fields.items())])


def _quoted(value: str) -> str:
    if "'" not in value:
        return f"'{value}'"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
