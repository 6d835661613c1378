"""JSON as values, with its repeated keys and the line of any part of it."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from callboard.messages.core.names import shown

__all__ = ["JsonRefused", "JsonValues", "json_lines", "json_values"]

TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
DEPTH_MAX: Final = 60
REPEATED_MAX: Final = 100
LINES_MAX: Final = 200_000


class JsonRefused(Exception):
    """A text is no JSON."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


class JsonValues(NamedTuple):
    """The values of a text."""

    value: Any
    repeated: list[str]
    """Keys that are twice in one object; the last value counts."""


def json_values(text: str) -> JsonValues:
    """The values in a text. Raises `JsonRefused`."""
    repeated: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found) and len(repeated) < REPEATED_MAX:
            counts = Counter(key for key, _ in found)
            repeated.extend(key for key, count in counts.items() if count > 1)
        return made

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise JsonRefused(error.lineno, error.msg) from None
    except RecursionError:
        raise JsonRefused(1, "it nests too deep") from None
    except ValueError as error:
        raise JsonRefused(1, f"{error!s:.200}") from None
    if _depth(value) > DEPTH_MAX:
        raise JsonRefused(1, f"it nests deeper than {DEPTH_MAX} levels")
    return JsonValues(value, repeated)


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level and depth <= DEPTH_MAX:
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level, depth = inner, depth + 1
    return depth


def json_lines(text: str) -> dict[str, int]:
    """The lines, from 1 on, of the parts of valid JSON, by paths such as `hooks.Stop[0]`."""
    lines = {"": 1}
    line, last = 1, 0
    for place, at in _places(text):
        line += text.count("\n", last, at)
        last = at
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
        lines.setdefault(path.removeprefix("."), line)
        if len(lines) >= LINES_MAX:
            break
    return lines


def _places(text: str) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """The path and the position of each key and each item."""
    path: list[str | int] = []
    is_key = False
    for found in TOKEN.finditer(text):
        token = found[0]
        match token:
            case "{":
                if path and isinstance(path[-1], int):
                    yield tuple(path), found.start()
                path.append("")
                is_key = True
            case "[":
                path.append(0)
                is_key = False
            case "}" | "]":
                if path:
                    path.pop()
                is_key = False
            case ",":
                last = path[-1] if path else ""
                if isinstance(last, int):
                    path[-1] = last + 1
                else:
                    is_key = True
            case ":":
                is_key = False
            case _ if is_key and path:
                try:
                    path[-1] = str(json.loads(token))
                except ValueError:
                    path[-1] = shown(token)
                yield tuple(path), found.start()
            case _:
                if path and isinstance(path[-1], int):
                    yield tuple(path), found.start()
