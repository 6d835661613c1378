"""Filters of subscriptions: a condition on the tags of events, compiled into a function. Pure.

The meaning is Centrifugo's: tags are texts, and a missing one is neither equal to anything nor
compares as a number. A filter that a client sends is bounded before it is compiled: `DEPTH_MAX`
levels, `NODES_MAX` nodes, `VALUES_MAX` values.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from callboard.messages.control.filters import StreamFilter
from callboard.messages.core.errors import UsageError

__all__ = ["DEPTH_MAX", "NODES_MAX", "VALUES_MAX", "Test", "compiled"]

DEPTH_MAX: Final = 8
NODES_MAX: Final = 64
VALUES_MAX: Final = 64
"""The most values of one `in` or `nin`."""
NUMBER: Final = re.compile(r"[+-]?\d{1,32}(?:\.\d{0,32})?(?:[eE][+-]?\d{1,3})?", re.ASCII)

Tags = Mapping[str, str]
Test = Callable[[Tags], bool]
"""Says whether an event with these tags passes."""


def compiled(condition: StreamFilter) -> Test:
    """The function for a filter. Raises `UsageError` for one that is wrong or too large."""
    if _nodes_of(condition, DEPTH_MAX, NODES_MAX) > NODES_MAX:
        raise _refused(f"it has more than {NODES_MAX} nodes", "Use fewer conditions.")
    return _compiled(condition)


def _nodes_of(condition: StreamFilter, depth_left: int, nodes_left: int) -> int:
    if not depth_left:
        raise _refused(f"it is deeper than {DEPTH_MAX} levels", "Write it with fewer levels.")
    nodes = 1
    for node in condition.nodes:
        if nodes > nodes_left:
            break
        nodes += _nodes_of(node, depth_left - 1, nodes_left - nodes)
    return nodes


def _compiled(condition: StreamFilter) -> Test:
    if not condition.op:
        return _comparison(condition)
    tests = tuple(_compiled(node) for node in condition.nodes)
    if not tests:
        raise _refused(f"{condition.op!r} has no conditions", "Give its `nodes`.")
    if condition.op == "and":
        return lambda tags: all(test(tags) for test in tests)
    if condition.op == "or":
        return lambda tags: any(test(tags) for test in tests)
    if condition.op == "not":
        if len(tests) > 1:
            raise _refused("`not` has several conditions", "Give one node.")
        (inner,) = tests
        return lambda tags: not inner(tags)
    raise _refused(f"{condition.op!r} combines nothing", "Use `and`, `or` or `not`.")


def _comparison(condition: StreamFilter) -> Test:
    key, value = condition.key, condition.val
    if not key:
        raise _refused("a comparison has no key", "Name the tag that is compared.")
    if condition.nodes:
        raise _refused("a comparison has nodes", "Set `op`, or leave the nodes out.")
    if len(condition.vals) > VALUES_MAX:
        raise _refused(f"a comparison has more than {VALUES_MAX} values", "Use fewer.")
    values = frozenset(condition.vals)
    simple: dict[str, Test] = {
        "eq": lambda tags: tags.get(key) == value,
        "neq": lambda tags: tags.get(key) != value,
        "in": lambda tags: tags.get(key, "") in values,
        "nin": lambda tags: tags.get(key, "") not in values or key not in tags,
        "ex": lambda tags: key in tags,
        "nex": lambda tags: key not in tags,
        "sw": lambda tags: key in tags and tags[key].startswith(value),
        "ew": lambda tags: key in tags and tags[key].endswith(value),
        "ct": lambda tags: key in tags and value in tags[key],
    }
    if condition.cmp in simple:
        return simple[condition.cmp]
    if condition.cmp not in ("gt", "gte", "lt", "lte"):
        raise _refused(f"{condition.cmp!r} compares nothing", "Use `eq`, `in`, `gt` or another.")
    return _numeric(condition.cmp, key, value)


def _numeric(cmp: str, key: str, value: str) -> Test:
    bound = _number(value)
    if bound is None:
        return lambda _tags: False
    compare: dict[str, Callable[[Decimal], bool]] = {
        "gt": lambda found: found > bound,
        "gte": lambda found: found >= bound,
        "lt": lambda found: found < bound,
        "lte": lambda found: found <= bound,
    }
    passes = compare[cmp]

    def test(tags: Tags) -> bool:
        found = _number(tags.get(key, ""))
        return found is not None and passes(found)

    return test


def _number(text: str) -> Decimal | None:
    return Decimal(text) if NUMBER.fullmatch(text) else None


def _refused(what: str, advice: str) -> UsageError:
    return UsageError(f"the filter is refused: {what}.", advice=advice)
