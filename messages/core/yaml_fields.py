"""YAML files with the line of everything in them, and all their problems at once.

A reader takes fields out of mappings. What is wrong, or left over, becomes a problem with its file
and line; reading goes on.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from .errors import CallboardError, UsageError
from .names import shown
from .yaml_text import YamlRefused, inner_path, yaml_values

__all__ = ["FILE_CHARACTERS_MAX", "Fields", "FilesRefused", "Problem", "Problems", "document"]

ReadT = TypeVar("ReadT")
FILE_CHARACTERS_MAX: Final = 2_000_000
SHOWN_MAX: Final = 30
PROBLEMS_MAX: Final = 1_000
TRUTHS: Final = {"true": True, "false": False}


class FilesRefused(UsageError):
    """Files are wrong; `details["problems"]` lists every problem."""

    code = "files_refused"


class Problem(NamedTuple):
    """One problem of a file."""

    file: str
    line: int
    where: str
    """The part of the file."""
    text: str

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}: {where}{self.text}"


class Problems:
    """Collects the problems of files."""

    def __init__(self) -> None:
        self.found: Final[list[Problem]] = []

    def add(self, file: str, line: int, where: str, text: str) -> None:
        """Note a problem."""
        if len(self.found) < PROBLEMS_MAX:
            self.found.append(Problem(file, line, where, text.removesuffix(".")))

    def raise_any(self) -> None:
        """Raise `FilesRefused` if there is a problem."""
        if self.found:
            lines = [str(problem) for problem in self.found]
            more = f"\n... and {len(lines) - SHOWN_MAX:,} more" if len(lines) > SHOWN_MAX else ""
            raise FilesRefused(
                f"{len(lines):,} problem{'s' if len(lines) > 1 else ''}:\n"
                + "\n".join(lines[:SHOWN_MAX])
                + more,
                problems=[problem._asdict() for problem in self.found],
            )


def document(text: str, file: str, problems: Problems) -> "Fields | None":
    """The mapping at the top of a file; None, with a problem, when there is none."""
    if len(text) > FILE_CHARACTERS_MAX:
        problems.add(file, 1, "", f"the file has more than {FILE_CHARACTERS_MAX:,} characters")
        return None
    try:
        read = yaml_values(text, only_texts=True)
    except YamlRefused as error:
        problems.add(file, error.line, "", f"no YAML: {error.problem}")
        return None
    for line, problem in read.problems:
        problems.add(file, line, "", problem)
    if not isinstance(read.value, dict):
        problems.add(file, read.lines.get("", 1), "", "the file is no mapping")
        return None
    return Fields(read.value, "", _File(file, read.lines, problems), "")


class _File(NamedTuple):
    """What all fields of a file share."""

    name: str
    lines: Mapping[str, int]
    problems: Problems


class Fields:
    """The fields of one mapping, each of which is taken at most once."""

    def __init__(self, value: Any, path: str, file: _File, where: str) -> None:
        self._path: Final = path
        self._file: Final = file
        self.where = where
        self._left: Final[dict[str, Any]] = dict(value) if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            self.problem("a mapping of names to values is needed here")

    @property
    def file(self) -> str:
        """The name of the file."""
        return self._file.name

    @property
    def problems(self) -> Problems:
        """The problems of all files."""
        return self._file.problems

    def problem(self, text: str, name: str = "") -> None:
        """Note a problem: of a field, or of this mapping, or of one that is not there."""
        path = inner_path(self._path, name) if name else self._path
        line = self._file.lines.get(path) or self._file.lines.get(self._path, 1)
        self.problems.add(self.file, line, self.where, text)

    def has(self, name: str) -> bool:
        """Whether the field is there, and not taken yet."""
        return name in self._left

    def text(self, name: str, *, default: str | None = None) -> str:
        """A text; a problem when it is missing and has no default."""
        value = self._left.pop(name, default)
        if isinstance(value, str):
            return value
        self.problem(f"{name} is missing" if value is None else f"{name} must be a text", name)
        return default or ""

    def read(self, name: str, function: Callable[[str], ReadT], default: ReadT) -> ReadT:
        """What a function makes of the text of a field; its error is a problem."""
        if name not in self._left:
            return default
        try:
            return function(self.text(name))
        except CallboardError as error:
            self.problem(f"{name}: {error}", name)
            return default

    def truth(self, name: str, *, default: bool) -> bool:
        """`true` or `false`."""

        def read(text: str) -> bool:
            if text.lower() not in TRUTHS:
                raise UsageError(f"{shown(text)} is neither true nor false.")
            return TRUTHS[text.lower()]

        return self.read(name, read, default)

    def texts(self, name: str) -> dict[str, str]:
        """A mapping of names to texts."""
        inner = self.mapping(name, self.where)
        return {} if inner is None else {n: inner.text(n, default="") for n in inner.names()}

    def _listed(self, name: str) -> list[Any]:
        found = self._left.pop(name, [])
        if isinstance(found, list):
            return found
        self.problem(f"{name} must be a list", name)
        return []

    def list_of_texts(self, name: str, function: Callable[[str], ReadT]) -> tuple[ReadT, ...]:
        """What a function makes of each text of a list."""
        made: list[ReadT] = []
        for number, value in enumerate(self._listed(name)):
            if not isinstance(value, str):
                self.problem(f"{name} must be a list of texts", f"{name}[{number}]")
                continue
            try:
                made.append(function(value))
            except CallboardError as error:
                self.problem(f"{name}: {error}", f"{name}[{number}]")
        return tuple(made)

    def mappings(self, name: str, where: str) -> "Iterator[Fields]":
        """The mappings of a list."""
        path = inner_path(self._path, name)
        for number, value in enumerate(self._listed(name)):
            yield Fields(value, f"{path}[{number}]", self._file, f"{where} {number + 1}")

    def mapping(self, name: str, where: str) -> "Fields | None":
        """The mapping in a field; None when it is missing."""
        if name not in self._left:
            return None
        return Fields(self._left.pop(name), inner_path(self._path, name), self._file, where)

    def names(self) -> list[str]:
        """The names of the fields that are not taken yet."""
        return list(self._left)

    def finish(self, advice: str = "") -> None:
        """What was not taken is not known."""
        for name in self.names():
            hint = f"; {advice}" if advice else ""
            self.problem(f"the field {shown(name)} is not known{hint}", name)
