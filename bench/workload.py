"""The work of each bench, defined once: the messages and the expected answers.

Every side, ours and the peers', sends exactly these contents and computes exactly these answers.
The harness derives the expected check from the parameters alone, and rejects a side whose check
differs. Nothing here is random, so figures of different days can be compared.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from bench.outcome import Params, check_of, check_of_each

__all__ = [
    "APPEND_WRITERS",
    "account_of",
    "amount_of",
    "append_total",
    "appended_check",
    "ask_reply",
    "ask_request",
    "column_values",
    "event_data",
    "event_number",
    "expected_api",
    "expected_append",
    "expected_ask",
    "expected_failover",
    "expected_fanout",
    "expected_flap",
    "expected_kills",
    "expected_million",
    "expected_pipeline",
    "expected_project",
    "expected_scale",
    "expected_spawn",
    "expected_state",
    "expected_supervise",
    "expected_tell_local",
    "expected_tiers",
    "merge_sub_tasks",
    "pipeline_check",
    "pipeline_line",
    "projected_check",
    "sub_task_result",
    "tally",
]


def ask_request(number: int) -> dict[str, Any]:
    """The small request of an ask: one text, one number."""
    return {"number": number, "text": f"review item {number:08d}"}


def ask_reply(number: int, text: str) -> dict[str, Any]:
    """The reply to a request: also one number, one text."""
    return {"number": number + 1, "text": f"{text} done"}


def expected_ask(params: Params) -> str:
    """The check over all pipelined replies, in the order of their requests."""
    requests = (ask_request(number) for number in range(params["messages"]))
    return check_of_each(ask_reply(**request) for request in requests)


def tally(messages: Iterable[dict[str, Any]]) -> dict[str, int]:
    """The tally of a receiver of tells: their count, and the sum of their numbers."""
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
    """The check over the numbers of all spawned actors, in order."""
    return check_of_each(range(params["actors"]))


def sub_task_result(number: int) -> dict[str, Any]:
    """The result of one sub-task of the fan-out."""
    square = number * number
    return {"number": square, "text": f"{number} squared is {square}"}


def merge_sub_tasks(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The merged result of a fan-out: the sum, and every text in order of its number.

    This sorts the results, because a fan-out may end in any order.
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
    """The check over the number of each actor after each kill, in order."""
    rounds = range(params["rounds"])
    return check_of_each(number for _ in rounds for number in range(params["actors"]))


APPEND_WRITERS = 16
EVENT_BYTES = 200


def event_data(number: int) -> bytes:
    """The data of an appended event: its number, in 200 bytes."""
    return number.to_bytes(EVENT_BYTES, "big")


def event_number(data: bytes) -> int:
    """The number of a read event. Raises `ValueError` when its data has changed."""
    if len(data) != EVENT_BYTES:
        msg = f"an event has {len(data)} bytes, not {EVENT_BYTES}"
        raise ValueError(msg)
    return int.from_bytes(data, "big")


def append_total(params: Params) -> int:
    """How many events a side appends. The share of each of the 16 writers is rounded down."""
    shared = ("warm_up", "one_at_a_time_events", "events", "batched_events")
    writers = APPEND_WRITERS
    return int(sum(params.get(name, 0) // writers * writers for name in shared) + params["alone"])


def appended_check(numbers: Iterable[int]) -> str:
    """The check over the numbers of all events in the log, in any order."""
    return check_of_each(sorted(numbers))


def expected_append(params: Params) -> str:
    """The check that each event is in the log, once."""
    return appended_check(range(append_total(params)))


def account_of(number: int, params: Params) -> str:
    """The account of an event to project, in pseudo-random order."""
    return f"account-{zlib.crc32(number.to_bytes(8, 'big')) % params['accounts']:06d}"


def amount_of(number: int) -> int:
    """The amount that an event to project adds to its account; it may be negative."""
    return number % 200 - 70 or 1


def projected_check(balances: Mapping[str, int]) -> str:
    """The check over the balance of each account, in order."""
    return check_of_each(sorted(balances.items()))


def expected_project(params: Params) -> str:
    """The check that each event has changed its account once."""
    balances: dict[str, int] = {}
    for number in range(params["events"]):
        account = account_of(number, params)
        balances[account] = balances.get(account, 0) + amount_of(number)
    return projected_check(balances)


def pipeline_line(number: int) -> dict[str, int]:
    """A row for a pipeline, from its number."""
    return {"id": number, "amount": zlib.crc32(number.to_bytes(8, "big")) % 1_000}


def column_values(count: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Values for a pipeline of columns."""
    return np.arange(count, dtype=np.int64) * 7919 % 1_000_003


def pipeline_check(batches: int, rows: int, total: int, column_sum: int) -> str:
    """The check over what came out of each pipeline."""
    return check_of([batches, rows, total, column_sum])


def expected_pipeline(params: Params) -> str:
    """The check that each row came out once, computed without a pipeline."""
    kept = [pipeline_line(n)["amount"] for n in range(params.get("rows", 0)) if n % 4 != 1]
    columns = column_values(params.get("column_rows", 0))
    some = columns[columns % 4 != 1]
    return pipeline_check(
        params["batches"],
        len(kept),
        sum(amount * 3 + 1 for amount in kept),
        int(np.sum(some * 3 + 1)),
    )


def expected_state(params: Params) -> str:
    """The check that every state is there, in its first version."""
    return check_of({"states": params["states"], "versions": params["states"]})


def expected_tiers(params: Params) -> str:
    """The check that each window of 30 days is read, once."""
    return check_of({"windows": params["moved_series"] * 30 * 24})


def expected_supervise(params: Params) -> str:
    """The check over the number of measurements of each kind that the side supports."""
    return check_of(
        {name: params[name] for name in ("restarts", "notices", "kills") if name in params}
    )


def expected_kills(params: Params) -> str:
    """The check over the kills and the faults, which must be zero: each ask has one outcome."""
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
    """The check over the number of answers, and the sum of their numbers."""
    actors = params["actors"]
    return check_of({"actors": actors, "sum": actors * (actors - 1) // 2})


def expected_api(params: Params) -> str:
    """The check over the number of actors in all pages."""
    return check_of({"actors": params["actors"]})


def expected_scale(params: Params) -> str:
    """The check over the numbers of hosts, and the names of all events and routings."""
    return check_of(
        {
            "hosts": sorted(count for name, count in params.items() if name.startswith("hosts_")),
            "events": [
                *("start", "join", "loss", "spawn", "pool", "resize", "tree", "attach", "adopt")
            ],
            "routings": ["round_robin", "least_loaded", "consistent_hash", "keyed"],
        }
    )
