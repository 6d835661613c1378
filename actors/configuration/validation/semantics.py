"""The second gate: names are unique, references resolve, and nothing goes in a circle."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from ..formats.draft import Draft
from ..package import ComponentType, ConfigurationDependency

__all__ = ["PRECEDENCE", "check_semantics", "dependencies_of"]

BUILT_IN_AGENTS: Final = frozenset(
    {"general-purpose", "Explore", "Plan", "statusline-setup", "claude-code-guide"}
)
PRECEDENCE: Final[Mapping[ComponentType, tuple[str, ...]]] = {
    ComponentType.AGENT: ("managed", "command line", "project", "user", "plugin"),
    ComponentType.SKILL: ("managed", "user", "project", "plugin"),
    ComponentType.COMMAND: ("managed", "user", "project", "plugin"),
    ComponentType.MCP_SERVER: ("local", "project", "user", "plugin"),
    ComponentType.SETTING: ("managed", "command line", "local", "project", "user"),
}
"""The scopes of each kind, the strongest first: for agents a project beats the user, for skills
the user beats the project."""
UNIQUE: Final = frozenset(
    {
        ComponentType.AGENT,
        ComponentType.COMMAND,
        ComponentType.SKILL,
        ComponentType.MCP_SERVER,
        ComponentType.PLUGIN,
        ComponentType.SERVICE,
        ComponentType.PIPELINE,
        ComponentType.ALERTS,
    }
)
Names = dict[tuple[ComponentType, str], list[Draft]]


def check_semantics(drafts: Sequence[Draft], known: Collection[tuple[ComponentType, str]]) -> None:
    """Add the findings of this gate. `known` has what is there outside of the package."""
    names: Names = defaultdict(list)
    for draft in drafts:
        names[draft.type, draft.name].append(draft)
    _check_names(names)
    _check_shadows(names)
    for draft in drafts:
        for reference in draft.references:
            key = (reference.type, reference.name.rpartition(":")[2])
            is_outside = (reference.type, reference.name) in known
            is_built_in = reference.type is ComponentType.AGENT and key[1] in BUILT_IN_AGENTS
            if not (_targets(draft, key, names) or is_outside or is_built_in):
                draft.note(
                    "unresolved-reference",
                    f"there is no {reference.type} {reference.name:.80} in the package.",
                    subject=reference.name,
                    line=reference.line,
                )
    _check_cycles(drafts, names)


def _targets(draft: Draft, key: tuple[ComponentType, str], names: Names) -> list[Draft]:
    """What a name means for a component: its own scope before the others."""
    found = names.get(key, [])
    return [one for one in found if one.scope == draft.scope] or found


def _check_names(names: Names) -> None:
    for (kind, name), found in names.items():
        if kind not in UNIQUE or len(found) == 1:
            continue
        scopes: dict[str, list[Draft]] = defaultdict(list)
        for draft in found:
            scopes[_scope(draft)].append(draft)
        for same in scopes.values():
            others = [draft.path for draft in same]
            for draft in same if len(same) > 1 else ():
                other = next((path for path in others if path != draft.path), draft.path)
                draft.note("duplicate-name", f"{name:.80} is in {other} as well.", name="name")


def _scope(draft: Draft) -> str:
    """Commands of different folders have different names, in the product and here."""
    if draft.type is ComponentType.COMMAND:
        return draft.path.rpartition("/")[0]
    return draft.path if draft.type is ComponentType.MCP_SERVER else draft.scope


def _check_shadows(names: Names) -> None:
    """A skill beats a command of the same name, in each scope."""
    for (kind, name), commands in names.items():
        if kind is not ComponentType.COMMAND:
            continue
        for skill in names.get((ComponentType.SKILL, name), ()):
            for command in commands:
                if command.scope == skill.scope:
                    command.note("shadowed", f"the skill in {skill.path} is used instead.")


def _check_cycles(drafts: Sequence[Draft], names: Names) -> None:
    """Depth first without recursion; each circle is reported where it closes."""
    done: set[int] = set()
    for start in drafts:
        if id(start) in done or not start.references:
            continue
        path: list[Draft] = []
        on_path: set[int] = set()
        stack: list[tuple[Draft, Iterator[Draft]]] = [(start, _next(start, names))]
        path.append(start)
        on_path.add(id(start))
        while stack:
            draft, following = stack[-1]
            other = next(following, None)
            if other is None:
                stack.pop()
                on_path.discard(id(path.pop()))
                done.add(id(draft))
            elif id(other) in on_path:
                circle = path[next(n for n, one in enumerate(path) if one is other) :]
                shown = " → ".join(one.title for one in [*circle[:10], other])
                other.note("reference-cycle", f"{shown}.")
            elif id(other) not in done:
                path.append(other)
                on_path.add(id(other))
                stack.append((other, _next(other, names)))


def _next(draft: Draft, names: Names) -> Iterator[Draft]:
    for reference in draft.references:
        if reference.type is ComponentType.AGENT and draft.type is ComponentType.AGENT:
            continue  # Agents may call each other: a depth bounds that, not the configuration.
        yield from _targets(draft, (reference.type, reference.name.rpartition(":")[2]), names)


def dependencies_of(drafts: Sequence[Draft]) -> Iterator[ConfigurationDependency]:
    """What the components of a package need."""
    held = {(draft.type, draft.name) for draft in drafts}
    for draft in drafts:
        for reference in draft.references:
            yield ConfigurationDependency(
                needed_by=draft.title,
                type=reference.type,
                name=reference.name,
                version=reference.version,
                is_inside=(reference.type, reference.name.rpartition(":")[2]) in held,
            )
