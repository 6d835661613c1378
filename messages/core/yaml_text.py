"""YAML as values with their lines: what every reader of a file in YAML begins with.

Aliases are refused: a small file could mean a huge one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from .names import shown

__all__ = ["YamlRefused", "YamlValues", "inner_path", "yaml_values"]

CHARACTERS_MAX: Final = 4_000_000
DEPTH_MAX: Final = 50
COLLECTION_TAGS: Final = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
TEXT_TAG: Final = "tag:yaml.org,2002:str"


class YamlRefused(Exception):
    """A text is no YAML; the reader of the file says so in its own error."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        """The line of the problem, from 1 on."""
        self.problem = problem


if yaml.__with_libyaml__:
    from yaml import cyaml

    class _SafeLoader(Composer, cyaml.CParser, SafeConstructor, Resolver):  # type: ignore[misc, name-defined]
        """Reads 25 times as fast as PyYAML's own, and lets `compose_node` be replaced."""

        def __init__(self, text: str) -> None:
            cyaml.CParser.__init__(self, text)  # type: ignore[attr-defined]
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)

else:
    _SafeLoader = yaml.SafeLoader  # type: ignore[misc, assignment]


class _Loader(_SafeLoader):
    """A loader without aliases."""

    def compose_node(self, parent: "yaml.Node | None", index: Any) -> "yaml.Node | None":
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, "aliases are not supported", event.start_mark
            )
        return super().compose_node(parent, index)


class YamlValues(NamedTuple):
    """The mappings, lists and scalars of a text."""

    value: Any
    """All of it; None for an empty text."""
    lines: Mapping[str, int]
    """The lines, from 1 on, by paths such as `groups[0].name`; of all of it by an empty text."""
    problems: Sequence[tuple[int, str]]
    """What is wrong with the text and still is YAML, with its line; then values are missing."""


def yaml_values(text: str, *, only_texts: bool = False) -> YamlValues:
    """The values of the one document in a text. Raises `YamlRefused`.

    Scalars are numbers, truths, None and so on as YAML says, or with `only_texts` what is written.
    """
    node = _node(text)
    reading = _Reading(only_texts=only_texts)
    value = None if node is None else reading.value(node, "", _line(node), 0)
    return YamlValues(value, reading.lines, reading.problems)


def inner_path(path: str, name: Any) -> str:
    """The path of a field in a mapping at `path`."""
    return f"{path}.{name}" if path else str(name)


class _Reading:
    """Makes values of nodes, and notes their lines."""

    def __init__(self, *, only_texts: bool) -> None:
        self._only_texts = only_texts
        self.lines: dict[str, int] = {}
        self.problems: list[tuple[int, str]] = []

    def value(self, node: "yaml.Node", path: str, line: int, depth: int) -> Any:
        """The value of a node."""
        self.lines.setdefault(path, line)
        if depth > DEPTH_MAX:
            self.problems.append((line, f"it nests deeper than {DEPTH_MAX} levels"))
        elif not isinstance(node, yaml.ScalarNode) and node.tag not in COLLECTION_TAGS:
            self.problems.append((line, f"there is no value of the type {shown(node.tag)}"))
        elif isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        elif isinstance(node, yaml.SequenceNode):
            return [
                self.value(each, f"{path}[{number}]", _line(each), depth + 1)
                for number, each in enumerate(node.value)
            ]
        else:
            return self._scalar(node)
        return None

    def _mapping(self, node: "yaml.MappingNode", path: str, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append((line, "a key must be a text"))
                continue
            key = self._scalar(key_node)
            if key in found:
                self.problems.append((line, f"{shown(key)} is there twice"))
                continue
            found[key] = self.value(value_node, inner_path(path, key), line, depth + 1)
        return found

    def _scalar(self, node: "yaml.Node") -> Any:
        if self._only_texts or node.tag == TEXT_TAG:
            return str(node.value)
        try:
            return yaml.SafeLoader("").construct_object(node)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or str(error)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
            # What PyYAML raises for a scalar with the tag of another type, such as `!!bool x`.
            problem = f"{shown(node.value)} is no value of the type {node.tag}"
        self.problems.append((_line(node), f"{problem:.200}"))
        return None


def _node(text: str) -> "yaml.Node | None":
    """The node of the one document in a text; None for an empty text. Raises `YamlRefused`."""
    if len(text) > CHARACTERS_MAX:
        raise YamlRefused(1, f"the text has more than {CHARACTERS_MAX:,} characters")
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        # libyaml names the line after the last one for what is missing at the end.
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        line = min(line, text.rstrip().count("\n") + 1)
        raise YamlRefused(line, str(error.problem)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlRefused(1, f"{str(error).splitlines()[0]:.200}") from None
    finally:
        if loader is not None:
            loader.dispose()


def _line(node: "yaml.Node") -> int:
    """The line at which a node begins, from 1 on."""
    return int(node.start_mark.line) + 1
