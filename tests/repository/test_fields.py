"""Each field of each public record says what it means, so that the reference has an entry for it.

Records are what a program reads or writes: contracts, dataclasses, named tuples. What
`statistics()`, `view()`, `state()` and `updates()` give, and what these hold, is public, too.
"""

import ast
import dataclasses
import importlib
import inspect
import textwrap
import typing
from collections.abc import Iterator
from typing import Any, Final

import pytest
from pydantic import BaseModel

import callboard
from callboard.actors.kernel.host.host import Host

READINGS: Final = ("statistics", "view", "state", "updates", "children")
"""Methods that give a program figures, and not a part of its own data."""
UNITS: Final = {"_s": ("second", "time", "age", "wait", "period", "how long", "delay")}
"""A field with this ending says its unit, in one of these words, or its class does."""


def is_record(value: object) -> bool:
    return isinstance(value, type) and (
        issubclass(value, BaseModel) or dataclasses.is_dataclass(value) or hasattr(value, "_fields")
    )


def public() -> dict[str, Any]:
    modules = [callboard, *(importlib.import_module(f"callboard.{t}") for t in callboard.TOPICS)]
    return {name: getattr(module, name) for module in modules for name in module.__all__}


PUBLIC: Final = public()
RECORDS: Final = {name: value for name, value in PUBLIC.items() if is_record(value)}


def docs_of(record: type) -> dict[str, str]:
    """The docstring of each field that the class itself declares; empty where there is none."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(record)))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    found: dict[str, str] = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = text_of(after)
    return {name: text for name, text in found.items() if not name.startswith("_")}


def text_of(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""


def records_in(hint: Any) -> Iterator[type]:
    """The records of Callboard in a type, also behind unions, tuples and iterators."""
    if is_record(hint) and hint.__module__.startswith("callboard."):
        yield hint
    for part in typing.get_args(hint):
        yield from records_in(part)


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_each_field_has_its_meaning(name: str) -> None:
    record = RECORDS[name]
    docs = docs_of(record)
    assert [field for field, text in docs.items() if not text] == []
    whole = (inspect.getdoc(record) or "").lower()
    for field, text in docs.items():
        for ending, words in UNITS.items():
            if field.endswith(ending):
                said = f"{text} {whole}".lower()
                assert any(word in said for word in words), f"{field} does not say its unit"


def test_what_a_program_reads_is_public() -> None:
    known = set(RECORDS.values())
    waiting: list[type] = []
    for value in PUBLIC.values():
        for method in READINGS if isinstance(value, type) else ():
            function = getattr(value, method, None)
            if callable(function):
                names = {**vars(inspect.getmodule(function)), **PUBLIC, "Host": Host}
                hints = typing.get_type_hints(function, localns=names)
                waiting += records_in(hints.get("return"))
    seen: set[type] = set()
    while waiting:
        record = waiting.pop()
        if record not in seen:
            seen.add(record)
            names = {**vars(inspect.getmodule(record)), **PUBLIC}
            hints = typing.get_type_hints(record, localns=names)
            waiting += [one for hint in hints.values() for one in records_in(hint)]
    assert len(seen) > 20
    assert sorted(record.__name__ for record in seen - known) == []
