"""Fields before a text: strict first, and only after a failure a second try.

The second try quotes those one-line values that are no YAML by themselves, such as a description
with a colon in it. So it never changes a file that can be read strictly.
"""

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from callboard.messages.core.yaml_text import YamlRefused, YamlValues, yaml_values

__all__ = ["FrontMatter", "front_matter"]

FENCE: Final = "---"
ONE_LINE: Final = re.compile(r"([A-Za-z_][\w.-]*)[ \t]*:[ \t]+(\S(?:.*\S)?)[ \t]*")
BLOCK_CHARACTERS_MAX: Final = 200_000
LINES_MAX: Final = 5_000
NO_FENCE: Final = "no-front-matter"
NOT_CLOSED: Final = "unclosed-front-matter"


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The fields of a file, its text, and what was wrong with them."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    """One-line values as they are written, by their names."""
    body: str = ""
    body_line: int = 1
    rule: str = ""
    """The rule that the strict reading breaks; empty: none."""
    problem: str = ""
    line: int = 1
    _: KW_ONLY
    is_repaired: bool = False
    """Whether the second try has read all fields. Otherwise, after a problem, `fields` has those
    one-line values that are plain."""


def front_matter(text: str) -> FrontMatter:
    """Read the fields and the body of a text."""
    lines = text.split("\n")
    if lines[0].rstrip() != FENCE:
        return FrontMatter(body=text, rule=NO_FENCE, problem="the first line is not ---")
    end = next((n for n, line in enumerate(lines[1:], 1) if line.rstrip() == FENCE), 0)
    if not end:
        return FrontMatter(body=text, rule=NOT_CLOSED, problem="no line of --- ends the fields")
    inner = lines[1:end]
    body, body_line = "\n".join(lines[end + 1 :]), end + 2
    block = "\n".join(inner)
    if len(block) > BLOCK_CHARACTERS_MAX or len(inner) > LINES_MAX:
        return FrontMatter(body=body, rule="yaml-invalid", problem="the fields are too long")
    written = {found[1]: found[2] for found in map(ONE_LINE.fullmatch, inner) if found}
    rule, problem, line, read = _strict(block, inner)
    if not rule:
        assert read is not None, "without a rule it was read"
        return FrontMatter(read.value or {}, _moved(read.lines), written, body, body_line)
    mended = "\n".join(map(_mended, inner))
    if mended != block and rule != "yaml-repeated-key":
        again, _, _, read = _strict(mended, inner)
        if not again and read is not None:
            return FrontMatter(
                read.value or {}, _moved(read.lines), written, body, body_line, rule, problem,
                line, is_repaired=True,
            )  # fmt: skip
    fields = {name: value for name, value in written.items() if _is_plain(value)}
    at = {n: next(i for i, s in enumerate(inner, 2) if s.startswith(n)) for n in fields}
    return FrontMatter(fields, at, written, body, body_line, rule, problem, line)


def _strict(block: str, inner: list[str]) -> tuple[str, str, int, YamlValues | None]:
    """The rule that is broken, the problem and its line in the file, or the values."""
    try:
        read = yaml_values(block)
    except YamlRefused as error:
        found = next((ONE_LINE.fullmatch(inner[n]) for n in _near(error.line, inner)), None)
        return _rule_of(error, inner, found), error.problem, error.line + 1, None
    for line, problem in read.problems:
        rule = "yaml-repeated-key" if problem.endswith("is there twice") else "yaml-invalid"
        return rule, problem, line + 1, None
    if read.value is not None and not isinstance(read.value, dict):
        return "yaml-invalid", "the fields are no mapping", 2, None
    return "", "", 1, read


def _near(line: int, inner: list[str]) -> list[int]:
    """The places where the cause of a problem may be: its line, then the lines above."""
    last = min(line, len(inner)) - 1
    return [n for n in range(last, -1, -1) if ONE_LINE.fullmatch(inner[n]) is not None]


def _rule_of(error: YamlRefused, inner: list[str], found: "re.Match[str] | None") -> str:
    if "alias" in error.problem:
        return "yaml-alias"
    candidates = [found] if found else []
    candidates += [one for line in inner if (one := ONE_LINE.fullmatch(line)) and one != found]
    for one in candidates:
        value = one[2]
        if _reads(f"k: {value}"):
            continue
        match value[0]:
            case "[":
                return "yaml-flow-sequence"
            case "{":
                return "yaml-flow-mapping"
            case "*" | "&":
                return "yaml-alias"
            case _:
                pass
        if ": " in value or value.endswith(":"):
            return "yaml-unquoted-colon"
    if "mapping values are not allowed" in error.problem:
        return "yaml-unquoted-colon"
    return "yaml-invalid"


def _reads(text: str) -> bool:
    try:
        return not yaml_values(text).problems
    except YamlRefused:
        return False


def _mended(line: str) -> str:
    """The line, its value in quotes when it is a field whose value alone is no YAML."""
    found = ONE_LINE.fullmatch(line)
    if found is None or found[2] in ("|", ">", "|-", ">-", "|+", ">+") or _reads(f"k: {found[2]}"):
        return line
    value = found[2]
    if value[0] in "\"'" and value.count(value[0]) == 1:
        return line  # A quoted text of several lines begins here.
    return f"{found[1]}: '" + value.replace("'", "''") + "'"


def _is_plain(value: str) -> bool:
    return value[0] not in "[{|>'\"" and ": " not in value and len(value) < BLOCK_CHARACTERS_MAX


def _moved(lines: Mapping[str, int]) -> dict[str, int]:
    """The lines in the file: the fields begin at its second line."""
    return {path: line + 1 for path, line in lines.items()}
