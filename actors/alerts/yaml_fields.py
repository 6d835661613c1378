"""YAML files with the line of everything in them, and all their problems at once.

A reader takes fields out of mappings. What is wrong, or left over, becomes a problem with its file
and line; reading goes on.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeVar

import yaml

from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.names import shown
from callboard.messages.core.yaml_text import YamlRefused, line_of, yaml_node

from .durations import duration_s

__all__ = ["FILE_CHARACTERS_MAX", "Fields", "FilesRefused", "Problem", "Problems", "document"]

ReadT = TypeVar("ReadT")
FILE_CHARACTERS_MAX: Final = 2_000_000
SHOWN_MAX: Final = 30
PROBLEMS_MAX: Final = 1_000
TRUTHS: Final = {"true": True, "false": False}


class FilesRefused(UsageError):
    """Files of rules or notifications are wrong; `details["problems"]` lists every problem."""

    code = "files_refused"


class Problem(NamedTuple):
    """One problem of a file."""

    file: str
    line: int
    where: str
    """The group and the rule, or the part of the file."""
    text: str

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}: {where}{self.text}"


class Problems:
    """Collects the problems of files."""

    def __init__(self) -> None:
        self.found: Final[list[Problem]] = []

    def add(self, file: str, node: "yaml.Node | int", where: str, text: str) -> None:
        """Note a problem."""
        line = node if isinstance(node, int) else line_of(node)
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
        node = yaml_node(text)
    except YamlRefused as error:
        problems.add(file, error.line, "", f"no YAML: {error.problem}")
        return None
    if not isinstance(node, yaml.MappingNode):
        problems.add(file, 1 if node is None else node, "", "the file is no mapping")
        return None
    return Fields(node, file, "", problems)


class Fields:
    """The fields of one mapping, each of which is taken at most once."""

    def __init__(self, node: "yaml.Node", file: str, where: str, problems: Problems) -> None:
        self.node: Final = node
        self.file: Final = file
        self.where = where
        self.problems: Final = problems
        self._lines: Final[dict[str, int]] = {}
        self._left: Final[dict[str, yaml.Node]] = {}
        if not isinstance(node, yaml.MappingNode):
            self.problem("a mapping of names to values is needed here")
            return
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problem("a name must be a text", key)
            elif key.value in self._left:
                self.problem(f"{shown(key.value)} is there twice", key)
            else:
                self._left[key.value] = value
                self._lines[key.value] = line_of(key)

    def problem(self, text: str, at: "yaml.Node | int | None" = None) -> None:
        """Note a problem, at this mapping if nothing else is said."""
        self.problems.add(self.file, self.node if at is None else at, self.where, text)

    def line(self, name: str) -> int:
        """The line of a field, or of the mapping without it."""
        return self._lines.get(name, line_of(self.node))

    def has(self, name: str) -> bool:
        """Whether the field is there, and not taken yet."""
        return name in self._left

    def text(self, name: str, *, default: str | None = None) -> str:
        """A text; a problem when it is missing and has no default."""
        node = self._left.pop(name, None)
        if node is None:
            if default is None:
                self.problem(f"{name} is missing")
            return default or ""
        if not isinstance(node, yaml.ScalarNode):
            self.problem(f"{name} must be a text", node)
            return default or ""
        return str(node.value)

    def seconds(self, name: str, default: float) -> float:
        """A duration."""
        return self.read(name, duration_s, default)

    def read(self, name: str, function: Callable[[str], ReadT], default: ReadT) -> ReadT:
        """What a function makes of the text of a field; its error is a problem."""
        if name not in self._left:
            return default
        try:
            return function(self.text(name))
        except CallboardError as error:
            self.problem(f"{name}: {error}", self.line(name))
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
        node = self._left.pop(name, None)
        if node is None:
            return {}
        inner = Fields(node, self.file, self.where, self.problems)
        return {each: inner.text(each, default="") for each in inner.names()}

    def listed(self, name: str) -> "list[yaml.Node]":
        """The nodes of a list; none when it is missing."""
        node = self._left.pop(name, None)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.problem(f"{name} must be a list", node)
            return []
        return list(node.value)

    def list_of_texts(self, name: str, function: Callable[[str], ReadT]) -> tuple[ReadT, ...]:
        """What a function makes of each text of a list."""
        made: list[ReadT] = []
        for node in self.listed(name):
            if not isinstance(node, yaml.ScalarNode):
                self.problem(f"{name} must be a list of texts", node)
                continue
            try:
                made.append(function(str(node.value)))
            except CallboardError as error:
                self.problem(f"{name}: {error}", node)
        return tuple(made)

    def mappings(self, name: str, where: str) -> "Iterator[Fields]":
        """The mappings of a list."""
        for number, node in enumerate(self.listed(name), start=1):
            yield Fields(node, self.file, f"{where} {number}", self.problems)

    def mapping(self, name: str, where: str) -> "Fields | None":
        """The mapping in a field; None when it is missing."""
        node = self._left.pop(name, None)
        return None if node is None else Fields(node, self.file, where, self.problems)

    def names(self) -> list[str]:
        """The names of the fields that are not taken yet."""
        return list(self._left)

    def finish(self, advice: str = "") -> None:
        """What was not taken is not known."""
        for name in self.names():
            hint = f"; {advice}" if advice else ""
            self.problem(f"the field {shown(name)} is not known{hint}", self.line(name))
