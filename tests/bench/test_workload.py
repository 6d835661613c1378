"""The expected checks: they are what makes a fast and wrong side lose."""

import random
from collections.abc import Callable

import pytest

from bench.outcome import Params, canonical_json, check_of, check_of_each
from bench.workload import (
    ask_reply,
    ask_request,
    expected_api,
    expected_ask,
    expected_failover,
    expected_fanout,
    expected_flap,
    expected_kills,
    expected_million,
    expected_spawn,
    expected_supervise,
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


def test_a_tally_of_all_messages_reaches_the_expected_check() -> None:
    counted = tally(ask_request(number) for number in range(COUNT))
    assert check_of(counted) == expected_tell_local({"messages": COUNT})


def test_sub_tasks_that_end_in_any_order_merge_to_the_expected_check() -> None:
    results = [sub_task_result(number) for number in range(COUNT)]
    random.Random(1).shuffle(results)
    assert check_of(merge_sub_tasks(results)) == expected_fanout({"sub_tasks": COUNT})


def test_every_actor_is_asked_for_its_number() -> None:
    assert check_of_each(range(COUNT)) == expected_spawn({"actors": COUNT})


def test_every_actor_is_asked_for_its_number_after_each_kill() -> None:
    numbers = [*range(COUNT), *range(COUNT)]
    assert check_of_each(numbers) == expected_failover({"actors": COUNT, "rounds": 2})


def test_one_round_less_changes_the_check_of_failover() -> None:
    one, two = ({"actors": COUNT, "rounds": rounds} for rounds in (1, 2))
    assert expected_failover(one) != expected_failover(two)


def test_a_peer_without_notices_has_a_check_of_its_restarts_alone() -> None:
    assert expected_supervise({"restarts": 3, "warm_up": 1}) == check_of({"restarts": 3})


def test_an_ask_without_an_outcome_changes_the_check_of_kills() -> None:
    good = {
        "kills": 2,
        "without_outcome": 0,
        "with_more_outcomes": 0,
        "other_outcomes": 0,
        "wrong_answers": 0,
        "repeated": 0,
    }
    assert check_of(good) == expected_kills({"kills": 2, "hosts": 4})
    for fault, count in good.items():
        assert check_of({**good, fault: count + 1}) != expected_kills({"kills": 2})


def test_a_million_answer_with_their_numbers() -> None:
    numbers = range(COUNT)
    found = {"actors": len(numbers), "sum": sum(numbers)}
    assert check_of(found) == expected_million({"actors": COUNT, "hosts": 4})


@pytest.mark.parametrize(
    ("expected", "size"),
    [
        (expected_ask, "messages"),
        (expected_tell_local, "messages"),
        (expected_spawn, "actors"),
        (expected_fanout, "sub_tasks"),
        (expected_million, "actors"),
        (expected_api, "actors"),
        (expected_flap, "actors"),
    ],
)
def test_one_lost_message_changes_the_check(expected: Callable[[Params], str], size: str) -> None:
    assert expected({size: COUNT}) != expected({size: COUNT - 1})
