"""What the lines of a rehearsal say, for right and for wrong courses."""

from typing import Any

import pytest

from .readings import (
    acting,
    lines_of,
    noticed_at_s,
    problems_of_execution,
    problems_of_fences,
    problems_of_keys,
    two_at_once_s,
    went_on_at_s,
)


def host(at_s: float, name: str, node: str, state: str = "up") -> dict[str, Any]:
    return {"at_s": at_s, "what": "host", "host": name, "node": node, "state": state, "epoch": 1}


def answered(
    at_s: float, key: str, amount: int = 1, began_s: float | None = None
) -> dict[str, Any]:
    began_s = at_s if began_s is None else began_s
    return {"at_s": at_s, "what": "answered", "key": key, "began_s": began_s, "amount": amount}


def effect(at_s: float, by: str, key: str = "a", fence: int | None = None) -> dict[str, Any]:
    return {"at_s": at_s, "key": key, "by": by, "fence": fence}


def test_half_a_line_at_the_end_is_left_out() -> None:
    assert lines_of('{"at_s": 1}\n{"at_s": 2}\n{"at_') == [{"at_s": 1}, {"at_s": 2}]
    assert lines_of("") == []


@pytest.mark.parametrize(
    "seen",
    [
        host(5.0, "host-1", "one", "silent"),
        host(5.0, "host-1", "two"),
        {"at_s": 5.0, "what": "failed", "key": "a", "error": "HostLost"},
        {"at_s": 5.0, "what": "no_view", "error": "HostLost"},
    ],
)
def test_a_fault_is_noticed_by_what_the_driver_sees_first(seen: dict[str, Any]) -> None:
    before = [host(1.0, "host-1", "one"), host(1.0, "host-2", "two"), host(2.0, "host-2", "two")]
    assert noticed_at_s([*before, seen, host(9.0, "host-1", "two")], "one", 3.0) == 5.0


def test_what_happens_to_other_nodes_or_before_is_not_the_fault() -> None:
    lines = [
        host(1.0, "host-1", "one"),
        {"at_s": 2.0, "what": "failed", "key": "a", "error": "HostLost"},
        host(4.0, "host-2", "two", "down"),
    ]
    assert noticed_at_s(lines, "one", 3.0) is None


def test_all_has_gone_on_when_the_last_key_answers_an_ask_from_after_the_fault() -> None:
    lines = [answered(4.0, "a", began_s=2.0), answered(5.0, "a"), answered(7.0, "b")]
    assert went_on_at_s(lines, ["a", "b"], 3.0) == 7.0
    assert went_on_at_s(lines, ["a", "b", "c"], 3.0) is None
    assert went_on_at_s(lines, ["a"], 6.0) is None


def test_activations_one_after_the_other_are_never_two_at_once() -> None:
    effects = [effect(1.0, "x"), effect(2.0, "x"), effect(2.1, "y"), effect(4.0, "y")]
    assert two_at_once_s(effects) == 0.0
    assert two_at_once_s([]) == 0.0


def test_an_activation_that_acts_on_next_to_another_is_found_in_any_order_of_lines() -> None:
    effects = [effect(9.0, "x"), effect(3.0, "y"), effect(1.0, "x"), effect(20.0, "z", key="b")]
    assert two_at_once_s(effects) == 0.0  # The next has acted once: from then on nobody else.
    assert two_at_once_s([*effects, effect(8.0, "y")]) == 5.0
    assert two_at_once_s([*effects, effect(30.0, "y")]) == 6.0


def test_who_has_acted_lately() -> None:
    effects = [effect(1.0, "x"), effect(5.0, "y"), effect(6.0, "y"), effect(6.0, "z", key="b")]
    assert acting(effects, 4.0) == 2


def test_amounts_that_grow_are_right_and_one_unsaved_may_be_lost() -> None:
    assert problems_of_keys([answered(1.0, "a", 1), answered(2.0, "a", 2)]) == []
    assert problems_of_keys([answered(1.0, "a", 1), answered(2.0, "a", 1)]) == []


def test_lost_and_doubled_amounts_are_found() -> None:
    lines = [answered(float(number), "a", number) for number in (1, 2, 3)]
    assert problems_of_keys([*lines, answered(4.0, "a", 1)]) == ["a had 3, then 1"]
    assert problems_of_keys([*lines, answered(4.0, "a", 5)]) == ["a has 5 of 4"]
    failed = {"at_s": 4.0, "what": "failed", "key": "a", "error": "HostLost"}
    assert problems_of_keys([*lines, failed, answered(5.0, "a", 5)]) == []


def test_an_execution_is_right_by_its_sum() -> None:
    assert problems_of_execution([{"what": "executed", "amounts": 14}], 4) == []
    assert problems_of_execution([{"what": "executed", "amounts": 15}], 4) == [
        "the execution gave 15, not 14"
    ]
    failed = {"what": "not_executed", "error": "HostLost: …"}
    assert problems_of_execution([failed], 4) == ["the execution failed: HostLost: …"]
    assert problems_of_execution([], 4) == ["the execution has not ended"]


def test_fences_only_grow() -> None:
    growing = [effect(1.0, "x", fence=1), effect(2.0, "y", fence=2), effect(2.5, "x", fence=1)]
    assert problems_of_fences(growing) == []
    assert problems_of_fences([effect(1.0, "x"), effect(2.0, "y")]) == []
    assert problems_of_fences([*growing, effect(3.0, "z", fence=2)]) == ["a has fence 2, and had 2"]
