"""YAML as nodes with their lines: what every reader of a file in YAML begins with.

Aliases are refused: a small file could mean a huge one.
"""

from typing import Any

import yaml

__all__ = ["YamlRefused", "line_of", "yaml_node"]


class YamlRefused(Exception):
    """A text is no YAML; the reader of the file says so in its own error."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        """The line of the problem, from 1 on."""
        self.problem = problem


class _Loader(yaml.SafeLoader):
    """A loader without aliases."""

    def compose_node(self, parent: "yaml.Node | None", index: Any) -> "yaml.Node | None":
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, "aliases are not supported", event.start_mark
            )
        return super().compose_node(parent, index)


def yaml_node(text: str) -> "yaml.Node | None":
    """The node of the one document in a text; None for an empty text. Raises `YamlRefused`."""
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        raise YamlRefused(line, str(error.problem)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlRefused(1, f"{str(error).splitlines()[0]:.200}") from None
    finally:
        if loader is not None:
            loader.dispose()


def line_of(node: "yaml.Node") -> int:
    """The line at which a node begins, from 1 on."""
    return int(node.start_mark.line) + 1
