"""Agents, commands, skills and instructions: texts with fields before them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..package import ComponentType
from .draft import Draft, FileReading, Reference, nearest
from .front_matter import NO_FENCE, NOT_CLOSED, FrontMatter, front_matter
from .tables import (
    AGENT_FIELDS,
    COLOURS,
    COMMAND_FIELDS,
    IGNORED_IN_PLUGINS,
    IS_MODEL,
    KEBAB,
    MODELS,
    NEVER_IN_AGENTS,
    PORTABLE_FIELDS,
    RETIRED_TOOLS,
    SKILL_FIELDS,
    TOOLS,
    TRUTHS,
    Field,
)

__all__ = ["read_agent", "read_command", "read_instruction", "read_skill", "tool_list"]

DESCRIPTION_CHARACTERS: Final = 1_024
BODY_LINES: Final = 500
COMPATIBILITY_CHARACTERS: Final = 500
PORTABLE_NAME_CHARACTERS: Final = 64
POSITIONAL: Final = re.compile(r"(?<!\\)\$(?:ARGUMENTS\[)?(\d+)")
MCP_TOOL: Final = re.compile(r"mcp__[\w.-]+(?:__(?:[\w.-]+|\*)?)?|mcp__\*")
TOOLS_MAX: Final = 500


def read_agent(reading: FileReading, text: str, *, plugin: str, stem: str) -> None:
    """Add the agent of a file to a reading."""
    read = front_matter(text)
    draft = _draft(reading, ComponentType.AGENT, read, text, plugin)
    if not _fields_are_read(draft, read):
        return
    name = _text(draft, "name")
    if name is None:
        draft.name = stem
        if not plugin or "name" in draft.fields:
            draft.note("name-missing", "the agent has no name.", name="name")
    else:
        draft.name = name
        _check_name(draft, name, stem)
    if not _text(draft, "description"):
        draft.note("description-missing", "the agent has no description.", name="description")
    _check_fields(draft, AGENT_FIELDS)
    if plugin:
        for ignored in sorted(IGNORED_IN_PLUGINS & set(draft.fields)):
            draft.note("field-ignored", f"{ignored} has no effect.", subject=ignored, name=ignored)
    _check_description(draft)
    _check_model(draft)
    colour = draft.fields.get("color")
    if isinstance(colour, str) and colour not in COLOURS:
        known = ", ".join(sorted(COLOURS))
        draft.note(
            "color-not-allowed", f"the known colours are {known}.", subject=colour, name="color"
        )
    draft.tools = _tools_of(draft, "tools", is_allowing=True)
    _tools_of(draft, "disallowedTools", is_allowing=False)
    _references_of(draft)
    if not draft.body.strip():
        draft.note("empty-body", "the agent has no instructions.", line=draft.body_line)


def read_command(reading: FileReading, text: str, *, plugin: str, stem: str) -> None:
    """Add the command of a file to a reading. Its name is that of the file."""
    read = front_matter(text)
    draft = _draft(reading, ComponentType.COMMAND, read, text, plugin)
    draft.name = stem
    _of_arguments(draft)
    if read.rule == NO_FENCE:
        return  # Commands need no fields.
    if not _fields_are_read(draft, read):
        return
    if "name" in draft.fields:
        draft.note("name-ignored", f"the command is called {stem}.", name="name")
    _check_prompt(draft, read, COMMAND_FIELDS)


def read_skill(
    reading: FileReading, text: str, *, plugin: str, stem: str, is_portable: bool
) -> None:
    """Add the skill of a `SKILL.md` to a reading; `stem` is its folder."""
    read = front_matter(text)
    draft = _draft(reading, ComponentType.SKILL, read, text, plugin)
    draft.name = stem
    _of_arguments(draft)
    if not _fields_are_read(draft, read):
        return
    name = _text(draft, "name")
    if name is not None:
        draft.name = name
        if name != stem:
            draft.note(
                "name-differs-from-folder",
                f"the skill {name} is in the folder {stem}.",
                name="name",
            )
        if KEBAB.fullmatch(name) is None:
            draft.note("name-not-kebab", f"the name {name} is unusual.", name="name")
    _check_prompt(draft, read, SKILL_FIELDS)
    if draft.body.count("\n") > BODY_LINES:
        draft.note("body-over-500-lines", f"the text has more than {BODY_LINES} lines.")
    compatibility = draft.fields.get("compatibility")
    if isinstance(compatibility, str) and len(compatibility) > COMPATIBILITY_CHARACTERS:
        draft.note("wrong-value", "compatibility is too long.", name="compatibility")
    if is_portable:
        _check_portable(draft, name)


def read_instruction(reading: FileReading, text: str, *, stem: str) -> None:
    """Add a `CLAUDE.md` or a rule to a reading."""
    read = front_matter(text)
    draft = _draft(reading, ComponentType.INSTRUCTION, read, text, "")
    draft.name = stem
    if read.rule == NO_FENCE:
        draft.body = text
    elif _fields_are_read(draft, read):
        _check_kind(draft, "paths", Field("texts"))


# --- parts ---------------------------------------------------------------------------------


def _draft(
    reading: FileReading, kind: ComponentType, read: FrontMatter, text: str, plugin: str
) -> Draft:
    draft = Draft(
        kind,
        "",
        reading.path,
        plugin=plugin,
        fields=dict(read.fields),
        body=read.body,
        text=text,
        body_line=read.body_line,
        lines=read.lines,
    )
    reading.drafts.append(draft)
    return draft


def _fields_are_read(draft: Draft, read: FrontMatter) -> bool:
    """Whether the fields can be used; what was wrong with them is a finding."""
    named = read.fields.get("name")
    if isinstance(named, str | int) and not draft.name:
        draft.name = str(named)
    if not read.rule:
        return True
    if not draft.name:
        draft.name = draft.path.rpartition("/")[2].removesuffix(".md")
    if read.is_repaired:
        draft.note(
            "front-matter-repaired",
            f"a value is no YAML without quotes ({read.problem}); it was read with quotes.",
            subject=read.rule,
            line=read.line,
        )
        return True
    problem = read.problem if read.rule in (NO_FENCE, NOT_CLOSED) else f"no YAML: {read.problem}"
    draft.note(read.rule, f"{problem}.", line=read.line)
    return False


def _text(draft: Draft, name: str) -> str | None:
    """A text; numbers and truths become one, as in the product."""
    value = draft.fields.get(name)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float) and str(value).strip():
        return str(value).strip()
    return None


def _check_name(draft: Draft, name: str, stem: str) -> None:
    if name.startswith("-") or ":" in name or len(name) > 200 or not name.isprintable():
        draft.note("name-unusable", f"an agent cannot be called {name:.60}.", name="name")
    elif KEBAB.fullmatch(name) is None:
        draft.note("name-not-kebab", f"the name {name} is unusual.", name="name")
    if name != stem:
        draft.note("name-differs-from-file", f"the file is called {stem}.", name="name")


def _check_description(draft: Draft) -> None:
    value = draft.fields.get("description")
    if not isinstance(value, str):
        return
    if len(value) > DESCRIPTION_CHARACTERS:
        draft.note(
            "description-over-1024",
            f"the description has {len(value):,} characters.",
            name="description",
        )
    if "\\n" in value:
        draft.note(
            "description-literal-backslash-n",
            "the description has backslashes in the place of line breaks.",
            name="description",
        )


def _check_model(draft: Draft) -> None:
    model = draft.fields.get("model")
    if isinstance(model, str) and model not in MODELS and IS_MODEL.fullmatch(model) is None:
        hint = nearest(model.lower(), MODELS)
        draft.note(
            "unknown-model", f"the model {model} is not known.{hint}", subject=model, name="model"
        )


def _check_prompt(draft: Draft, read: FrontMatter, known: Mapping[str, Field]) -> None:
    """What commands and skills have in common."""
    hint = draft.fields.get("argument-hint")
    if isinstance(hint, list | dict):
        written = read.written.get("argument-hint", "")
        draft.fields = {**draft.fields, "argument-hint": written}
        draft.note(
            "argument-hint-not-string",
            "the hint in brackets is a list to YAML; its text was kept.",
            name="argument-hint",
        )
    _check_fields(draft, known)
    _check_description(draft)
    _check_model(draft)
    draft.tools = _tools_of(draft, "allowed-tools", is_allowing=True, by_spaces=True)
    _tools_of(draft, "disallowed-tools", is_allowing=False, by_spaces=True)
    agent = draft.fields.get("agent")
    if isinstance(agent, str):
        draft.references.append(Reference(ComponentType.AGENT, agent, draft.line_of("agent")))
    if not draft.body.strip():
        draft.note("empty-body", "the file has no text.", line=draft.body_line)


def _check_fields(draft: Draft, known: Mapping[str, Field]) -> None:
    for name in draft.fields:
        if name not in known:
            hint = nearest(str(name), known)
            draft.note(
                "unknown-field",
                f"the field {name!s:.60} is not known.{hint}",
                subject=str(name),
                name=str(name),
            )
        else:
            _check_kind(draft, name, known[name])


def _check_kind(draft: Draft, name: str, wanted: Field) -> None:
    if name not in draft.fields:
        return
    value = draft.fields[name]
    if value is None or value in ("", []):
        if name not in ("name", "description", "tools"):
            draft.note("empty-field", f"{name} is empty.", subject=name, name=name)
        return
    problem = KINDS[wanted.kind](value)
    if problem:
        draft.note("wrong-type", f"{name} {problem}.", subject=name, name=name)
        return
    if wanted.choices and str(value) not in wanted.choices:
        known = ", ".join(sorted(wanted.choices))
        draft.note(
            "wrong-value", f"{name} is {value!s:.60}, and one of {known}.", subject=name, name=name
        )


def _is_text(value: Any) -> str:
    return "" if isinstance(value, str | int | float) else "must be a text"


def _is_truth(value: Any) -> str:
    return "" if str(value).lower() in TRUTHS else "must be true or false"


def _is_count(value: Any) -> str:
    is_right = type(value) is int and value > 0
    return "" if is_right else "must be a whole number above zero"


def _is_texts(value: Any) -> str:
    items = value if isinstance(value, list) else [value]
    is_right = all(isinstance(item, str | int | float) for item in items)
    return "" if is_right else "must be a text or a list of texts"


def _is_map(value: Any) -> str:
    return "" if isinstance(value, dict) else "must be a mapping"


KINDS: Final[Mapping[str, Callable[[Any], str]]] = {
    "text": _is_text,
    "truth": _is_truth,
    "count": _is_count,
    "texts": _is_texts,
    "tools": _is_texts,
    "map": _is_map,
    "choice": _is_text,
    "any": lambda _: "",
}


def tool_list(value: Any, *, by_spaces: bool = False) -> tuple[str, ...]:
    """The entries of a tool list: commas divide, but not inside of parentheses."""
    if isinstance(value, list):
        return tuple(str(item).strip() for item in value if str(item).strip())[:TOOLS_MAX]
    entries, entry, depth = list[str](), "", 0
    for character in str(value):
        depth += (character == "(") - (character == ")" and depth > 0)
        if not depth and (character == "," or (by_spaces and character.isspace())):
            entries.append(entry.strip())
            entry = ""
        else:
            entry += character
    return tuple(one for one in (*entries, entry.strip()) if one)[:TOOLS_MAX]


def _tools_of(
    draft: Draft, name: str, *, is_allowing: bool, by_spaces: bool = False
) -> tuple[str, ...]:
    value = draft.fields.get(name)
    if not value or _is_texts(value):
        return ()
    tools = tool_list(value, by_spaces=by_spaces)
    if is_allowing and tools in (("*",), ("all",)):
        draft.note("tools-wildcard", f"{tools[0]} was read as: inherit all.", name=name)
        return ()
    for entry in tools:
        tool = entry.partition("(")[0]
        if tool in RETIRED_TOOLS:
            instead = RETIRED_TOOLS[tool]
            draft.note("legacy-tool", f"{tool} is gone; use {instead}.", subject=tool, name=name)
        elif tool not in TOOLS and MCP_TOOL.fullmatch(tool) is None:
            hint = nearest(tool, TOOLS)
            draft.note("unknown-tool", f"there is no {tool:.60}.{hint}", subject=tool, name=name)
        elif tool in NEVER_IN_AGENTS and is_allowing and draft.type is ComponentType.AGENT:
            draft.note(
                "tool-never-available", f"{tool} never runs in agents.", subject=tool, name=name
            )
    return tools


def _references_of(draft: Draft) -> None:
    for entry in draft.tools:
        tool, _, inner = entry.partition("(")
        if tool in ("Agent", "Task") and inner:
            for name in inner.rstrip(")").split(","):
                if name.strip():
                    draft.references.append(
                        Reference(ComponentType.AGENT, name.strip(), draft.line_of("tools"))
                    )
    skills = draft.fields.get("skills")
    for name in tool_list(skills) if skills and not _is_texts(skills) else ():
        draft.references.append(Reference(ComponentType.SKILL, name, draft.line_of("skills")))
    servers = draft.fields.get("mcpServers")
    for server in servers if isinstance(servers, list) else ():
        if isinstance(server, str):
            draft.references.append(
                Reference(ComponentType.MCP_SERVER, server, draft.line_of("mcpServers"))
            )


def _of_arguments(draft: Draft) -> None:
    body = draft.body
    if "$ARGUMENTS" in body:
        draft.note(
            "uses-arguments", "the text takes arguments.", line=_line_in(draft, "$ARGUMENTS")
        )
    found = {match[1]: match for match in POSITIONAL.finditer(body)} if "$" in body else {}
    if not found:
        return
    first = next(iter(found.values()))
    line = draft.body_line + body.count("\n", 0, first.start())
    draft.note("uses-positional", "the text takes arguments by their place.", line=line)
    if "0" not in found:
        draft.note(
            "positional-counts-from-zero",
            f"{first[0]} is there without $0: the count begins at 0, or a price is meant.",
            subject=first[0],
            line=line,
        )


def _line_in(draft: Draft, text: str) -> int:
    return draft.body_line + draft.body.count("\n", 0, draft.body.find(text))


def _check_portable(draft: Draft, name: str | None) -> None:
    """The open standard for skills is stricter than the product."""
    for other in sorted(set(map(str, draft.fields)) - PORTABLE_FIELDS):
        draft.note(
            "portable-field", f"the standard has no field {other}.", subject=other, name=other
        )
    if name is None or KEBAB.fullmatch(name) is None or len(name) > PORTABLE_NAME_CHARACTERS:
        draft.note("portable-limit", "the name must have 1 to 64 of a-z, 0-9 and -.", name="name")
    elif name != draft.path.split("/")[-2:][0]:
        draft.note("portable-limit", "the name must be that of the folder.", name="name")
    description = draft.fields.get("description")
    if not isinstance(description, str) or not 1 <= len(description) <= DESCRIPTION_CHARACTERS:
        draft.note(
            "portable-limit", "the description must have 1 to 1,024 characters.", name="description"
        )
