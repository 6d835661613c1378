"""The work of each bench, defined once: what is sent, what must come back.

Every side, ours and the peers', sends exactly these contents and computes exactly these
answers; the harness derives the expected check from the parameters alone and refuses a
side whose check differs. Nothing here is random, so a figure can be compared with
yesterday's.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from bench.outcome import Params, check_of, check_of_each

__all__ = [
    "ask_reply",
    "ask_request",
    "expected_ask",
    "expected_failover",
    "expected_fanout",
    "expected_flap",
    "expected_kills",
    "expected_million",
    "expected_spawn",
    "expected_supervise",
    "expected_tell_local",
    "merge_sub_tasks",
    "sub_task_result",
    "tally",
]


def ask_request(number: int) -> dict[str, Any]:
    """The small request that is asked: one text, one number."""
    return {"number": number, "text": f"review item {number:08d}"}


def ask_reply(number: int, text: str) -> dict[str, Any]:
    """What a receiver answers to a request: also one number, one text."""
    return {"number": number + 1, "text": f"{text} done"}


def expected_ask(params: Params) -> str:
    """The check over all pipelined replies, in the order of their requests."""
    requests = (ask_request(number) for number in range(params["messages"]))
    return check_of_each(ask_reply(**request) for request in requests)


def tally(messages: Iterable[dict[str, Any]]) -> dict[str, int]:
    """What a receiver of tells knows in the end: how many, and the sum of the numbers."""
    count = total = 0
    for message in messages:
        count += 1
        total += message["number"]
    return {"count": count, "total": total}


def expected_tell_local(params: Params) -> str:
    """The check over the receiver's tally after `messages` tells."""
    messages = params["messages"]
    return check_of({"count": messages, "total": messages * (messages - 1) // 2})


def expected_spawn(params: Params) -> str:
    """The check over the number each spawned actor was given, asked back in order."""
    return check_of_each(range(params["actors"]))


def sub_task_result(number: int) -> dict[str, Any]:
    """What one sub-task of the fan-out computes from its number."""
    square = number * number
    return {"number": square, "text": f"{number} squared is {square}"}


def merge_sub_tasks(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The merged result of a fan-out: the sum, and every text in order of its number.

    The order is made here, because a fan-out may end in any.
    """
    ordered = sorted(results, key=lambda result: int(result["number"]))
    return {
        "sum": sum(int(result["number"]) for result in ordered),
        "texts": [str(result["text"]) for result in ordered],
    }


def expected_fanout(params: Params) -> str:
    """The check over the merged result of `sub_tasks` sub-tasks."""
    return check_of(merge_sub_tasks(_results(params["sub_tasks"])))


def _results(count: int) -> Iterator[dict[str, Any]]:
    return (sub_task_result(number) for number in range(count))


def expected_failover(params: Params) -> str:
    """The check over the number each actor answers with after each kill, in order."""
    rounds = range(params["rounds"])
    return check_of_each(number for _ in rounds for number in range(params["actors"]))


def expected_supervise(params: Params) -> str:
    """The check over how many of each were measured; a peer leaves out what it has not."""
    return check_of(
        {name: params[name] for name in ("restarts", "notices", "kills") if name in params}
    )


def expected_kills(params: Params) -> str:
    """The check over the kills and all that must not happen: each ask has one outcome."""
    faults = {
        "without_outcome": 0,
        "with_more_outcomes": 0,
        "other_outcomes": 0,
        "wrong_answers": 0,
        "repeated": 0,
    }
    return check_of({"kills": params["kills"], **faults})


def expected_flap(params: Params) -> str:
    """The check that every actor has flapped and every probe was answered."""
    return check_of({"actors": params["actors"], "all_flapped": True, "unanswered": 0})


def expected_million(params: Params) -> str:
    """The check over how many answered, and the sum of their numbers."""
    actors = params["actors"]
    return check_of({"actors": actors, "sum": actors * (actors - 1) // 2})
