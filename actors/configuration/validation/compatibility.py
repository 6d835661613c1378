"""The fourth gate: what a package breaks for those who run or read the packages before it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ..formats.draft import Draft, finding
from ..formats.structured import schema_errors
from ..package import (
    ChangeType,
    ComponentType,
    ConfigurationChange,
    ConfigurationComponent,
    ConfigurationPackage,
    Finding,
    RollbackData,
)
from ..permissions import Effect
from .json_schemas import BACKWARD, FORWARD, schema_breaks
from .policy import Policy

__all__ = ["changes_between", "check_compatibility"]

MODE_DEFAULT: Final = BACKWARD
TRANSITIVE: Final = "_TRANSITIVE"
Key = tuple[ComponentType, str]


def check_compatibility(
    drafts: Sequence[Draft], before: Sequence[ConfigurationPackage], policy: Policy
) -> list[Finding]:
    """Add the findings of this gate; those about what is gone are returned.

    `before` has the packages that are still in use, the newest first. Modes without TRANSITIVE
    compare with the newest one only.
    """
    if not before:
        return []
    now = {(draft.type, draft.whole_name): draft for draft in drafts}
    for draft in drafts:
        mode = policy.compatibility.get(draft.type, MODE_DEFAULT)
        for package in before if mode.endswith(TRANSITIVE) else before[:1]:
            old = _held(package).get((draft.type, draft.whole_name))
            if old is not None:
                _check_schema(draft, old, mode.removesuffix(TRANSITIVE))
                _check_version(draft, old)
                if package is before[0]:
                    _check_tools(draft, old)
                    _check_permissions(draft, old)
    return list(_of_removed(now, before[0], drafts))


def _held(package: ConfigurationPackage) -> dict[Key, ConfigurationComponent]:
    return {(one.type, one.name): one for one in package.components}


def _check_schema(draft: Draft, old: ConfigurationComponent, mode: str) -> None:
    if draft.type is not ComponentType.SERVICE or mode == "NONE":
        return
    wanted = {BACKWARD, FORWARD} if mode == "FULL" else {mode}
    for found in schema_breaks(old.content_schema, draft.schema):
        if found.mode in wanted:
            side = "new readers, old documents" if found.mode == BACKWARD else "old readers"
            draft.note("schema-break", f"{side}: {found.path or 'it'} {found.problem}.",
                       subject=f"{found.mode}:{found.path}")  # fmt: skip
    if draft.schema and BACKWARD in wanted:
        for path, _, problem in schema_errors(draft.schema, old.content):
            draft.note(
                "stored-document-refused",
                f"the new schema refuses what is stored: {path or 'it'}: {problem}.",
                subject=path,
            )


def _check_version(draft: Draft, old: ConfigurationComponent) -> None:
    """Of a plugin: a fixed version hides what comes later."""
    if draft.type is not ComponentType.PLUGIN:
        return
    version = draft.fields.get("version")
    if version and version == old.content.get("version") and dict(draft.fields) != old.content:
        draft.note("version-unchanged", f"the version is still {version!s:.40}.", name="version")


def _check_tools(draft: Draft, old: ConfigurationComponent) -> None:
    if draft.type is not ComponentType.AGENT:
        return
    before = set(old.content.get("tools") or ())
    for tool in sorted(before - set(draft.tools)) if draft.tools else ():
        draft.note("tool-removed", f"{tool:.80} is gone.", subject=tool, name="tools")
    if before and not draft.tools:
        draft.note("permission-widened", "all tools are inherited now.", subject="tools")
    for tool in sorted(set(draft.tools) - before) if before else ():
        draft.note("permission-widened", f"{tool:.80} is new.", subject=tool, name="tools")


def _check_permissions(draft: Draft, old: ConfigurationComponent) -> None:
    if draft.type is not ComponentType.PERMISSIONS:
        return
    for effect in Effect:
        before, now = _rules(old.content, effect), _rules(draft.fields, effect)
        is_allowing = effect is Effect.ALLOW
        for rule in sorted(now - before):
            name = "permission-widened" if is_allowing else "permission-narrowed"
            draft.note(name, f"{effect} {rule:.80} is new.", subject=rule, name="permissions")
        for rule in sorted(before - now):
            name = "permission-narrowed" if is_allowing else "permission-widened"
            draft.note(name, f"{effect} {rule:.80} is gone.", subject=rule, name="permissions")
    if draft.fields.get("defaultMode") != old.content.get("defaultMode"):
        mode = draft.fields.get("defaultMode", "default")
        draft.note("permission-widened", f"the mode is now {mode!s:.40}.", subject="defaultMode")


def _rules(content: Mapping[str, Any], effect: Effect) -> set[str]:
    found = content.get(effect)
    return {rule for rule in found if isinstance(rule, str)} if isinstance(found, list) else set()


def _of_removed(
    now: Mapping[Key, Draft], before: ConfigurationPackage, drafts: Sequence[Draft]
) -> Iterator[Finding]:
    needed = {
        (reference.type, reference.name): draft
        for draft in drafts
        for reference in draft.references
    }
    for old in before.components:
        if (old.type, old.name) in now:
            continue
        title = f"{old.type} {old.name}"
        user = needed.get((old.type, old.name))
        if user is not None:
            message = f"{title} is gone, and {user.title} needs it."
            yield finding("removed-while-referenced", user.path, message, old.name, 1, user.title)
        else:
            yield finding("component-removed", old.path, f"{title} is gone.", old.name, 1, title)
        if old.type is ComponentType.PERMISSIONS:
            message = f"{title} is gone, with what it forbids."
            yield finding("permission-widened", old.path, message, old.name, 1, title)


def changes_between(
    old: ConfigurationPackage | None, new: ConfigurationPackage
) -> tuple[ConfigurationChange, ...]:
    """Each component that is added, changed or removed, with what takes the change back."""
    before = {} if old is None else _held(old)
    now = _held(new)
    changes = []
    for key in sorted(before.keys() | now.keys()):
        was, is_now = before.get(key), now.get(key)
        if was is not None and is_now is not None and was.digest == is_now.digest:
            continue
        changes.append(_change(old, new, was, is_now))
    return tuple(changes)


def _change(
    old: ConfigurationPackage | None,
    new: ConfigurationPackage,
    was: ConfigurationComponent | None,
    now: ConfigurationComponent | None,
) -> ConfigurationChange:
    one = now or was
    assert one is not None, "a change has a side"
    kind = ChangeType.CHANGED if was and now else ChangeType.ADDED if now else ChangeType.REMOVED
    name = f"{one.type} {one.name}"
    seed = f"{old.package_id if old else ''}\n{new.package_id}\n{name}"
    return ConfigurationChange(
        change_id=hashlib.sha256(seed.encode("utf-8", "surrogatepass")).hexdigest()[:32],
        package_id=new.package_id,
        change_type=kind,
        component=name,
        old_value=None if was is None else was.content,
        new_value=None if now is None else now.content,
        rollback_data=RollbackData(package_id=old.package_id if old else "", component=was),
    )
