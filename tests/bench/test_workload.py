"""The expected checks: they are what makes a fast and wrong side lose."""

import random
from collections.abc import Callable

import pytest

from bench.outcome import Params, canonical_json, check_of, check_of_each
from bench.workload import (
    ask_reply,
    ask_request,
    expected_ask,
    expected_failover,
    expected_fanout,
    expected_spawn,
    expected_tell_local,
    merge_sub_tasks,
    sub_task_result,
    tally,
)

COUNT = 25


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": "ä"}) == canonical_json({"a": "ä", "b": 1})


def test_replies_in_another_order_have_another_check() -> None:
    assert check_of_each([1, 2]) != check_of_each([2, 1])


def test_replies_cannot_be_joined_to_the_same_check() -> None:
    assert check_of_each([1, 2]) != check_of_each([12])


def test_an_ask_loop_reaches_the_expected_check() -> None:
    replies = [ask_reply(**ask_request(number)) for number in range(COUNT)]
    assert check_of_each(replies) == expected_ask({"messages": COUNT})


def test_a_tally_of_all_tells_reaches_the_expected_check() -> None:
    counted = tally(ask_request(number) for number in range(COUNT))
    assert check_of(counted) == expected_tell_local({"messages": COUNT})


def test_sub_tasks_that_end_in_any_order_merge_to_the_expected_check() -> None:
    results = [sub_task_result(number) for number in range(COUNT)]
    random.Random(1).shuffle(results)
    assert check_of(merge_sub_tasks(results)) == expected_fanout({"sub_tasks": COUNT})


@pytest.mark.parametrize("expected", [expected_spawn, expected_failover])
def test_every_actor_is_asked_for_its_number(expected: Callable[[Params], str]) -> None:
    assert check_of_each(range(COUNT)) == expected({"actors": COUNT})


@pytest.mark.parametrize(
    ("expected", "size"),
    [
        (expected_ask, "messages"),
        (expected_tell_local, "messages"),
        (expected_spawn, "actors"),
        (expected_fanout, "sub_tasks"),
        (expected_failover, "actors"),
    ],
)
def test_one_lost_message_changes_the_check(expected: Callable[[Params], str], size: str) -> None:
    assert expected({size: COUNT}) != expected({size: COUNT - 1})
