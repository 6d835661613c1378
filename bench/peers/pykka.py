"""pykka: `tell_local` and `spawn`. An actor is a thread of this process."""

from typing import Any

import pykka

from bench.entry import serve
from bench.memory import own_bytes
from bench.outcome import Outcome, Params, check_of, check_of_each
from bench.timing import timed
from bench.workload import ask_request

__all__: list[str] = []

IN_FLIGHT_MAX = 1_000
"""Asks in flight at once. With all of them it is half as fast."""
READ_TALLY = {"read": "tally"}
READ_NUMBER = {"read": "number"}


class Worker(pykka.ThreadingActor):
    """Counts its messages, and has a number."""

    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self._number = number
        self._tally = {"count": 0, "total": 0}

    def on_receive(self, message: Any) -> Any:
        """Count a message, or answer a read."""
        if message is READ_NUMBER:
            return self._number
        if message is READ_TALLY:
            # Reading starts a new count without the warm-up.
            tally, self._tally = self._tally, {"count": 0, "total": 0}
            return tally
        self._tally["count"] += 1
        self._tally["total"] += message["number"]
        return None


def _ask_all(worker: pykka.ActorRef[Worker], messages: list[dict[str, Any]]) -> Any:
    """Pipelined asks: send a window of them, then take all their futures."""
    for start in range(0, len(messages), IN_FLIGHT_MAX):
        window = messages[start : start + IN_FLIGHT_MAX]
        futures = [worker.ask(message, block=False) for message in window]
        for future in futures:
            future.get()
    return worker.ask(READ_TALLY)


def _tell_all(worker: pykka.ActorRef[Worker], messages: list[dict[str, Any]]) -> Any:
    for message in messages:
        worker.tell(message)
    return worker.ask(READ_TALLY)


def tell_local(params: Params) -> Outcome:
    """Messages to one actor: pipelined asks, and tells.

    `messages_per_s` is the rate of the asks, which confirm that each message was handled;
    `tells_per_s` is the rate of the tells.
    """
    messages = [ask_request(number) for number in range(params["messages"])]
    worker = Worker.start()
    try:
        _ask_all(worker, messages[: params["warm_up"]])
        with timed() as asks:
            tally = _ask_all(worker, messages)
        with timed() as tells:
            tally_of_tells = _tell_all(worker, messages)
    finally:
        worker.stop()
    if tally != tally_of_tells:
        msg = f"the asks counted {tally}, the tells {tally_of_tells}"
        raise AssertionError(msg)
    return Outcome(
        {
            "messages_per_s": asks.per_s(len(messages)),
            "tells_per_s": tells.per_s(len(messages)),
        },
        check_of(tally),
        ("messages_per_s are pipelined asks, tells_per_s are tells",),
    )


def spawn(params: Params) -> Outcome:
    """Actors started, a thread each."""
    Worker.start()
    try:
        before_bytes = own_bytes()
        with timed() as stopwatch:
            workers = [Worker.start(number) for number in range(params["actors"])]
        size_bytes = own_bytes() - before_bytes
        numbers = [worker.ask(READ_NUMBER) for worker in workers]
    finally:
        pykka.ActorRegistry.stop_all()
    return Outcome(
        {
            "actors_per_s": stopwatch.per_s(len(workers)),
            "bytes_per_actor": size_bytes / len(workers),
        },
        check_of_each(numbers),
    )


if __name__ == "__main__":
    serve({"tell_local": tell_local, "spawn": spawn})
