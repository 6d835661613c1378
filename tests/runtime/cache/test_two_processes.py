"""Two processes and a real Redis: after a write of one, the other serves no older value."""

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest

from callboard.runtime.cache.tiers import open_cache
from tests.servers.redis_server import RedisServer

ANSWER_S_MAX: Final = 30.0
# A value is its version, 8 bytes.
NODE: Final = """
import asyncio, json, sys, time
from callboard.runtime.cache.tiers import open_cache

DEADLINE_S = 20.0


def said(value):
    return None if value is None else int.from_bytes(value, "big")


async def until(condition):
    ends_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < ends_s, "it does not become so"
        await asyncio.sleep(0.002)


async def main():
    cache = open_cache(sys.argv[1], newest_wins=True, stale_s_max=60.0)
    await until(lambda: cache.statistics().is_confirmed and cache.statistics().subscriptions)
    print(json.dumps("up"), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, *rest = json.loads(line)
        if what == "set":
            await cache.set_many({rest[0]: rest[1].to_bytes(8, "big")}, 60.0)
            answer = None
        elif what == "get":
            (value,) = await cache.get_many([rest[0]])
            answer = said(value)
        elif what == "delete":
            await cache.delete_many([rest[0]])
            answer = None
        elif what == "local":
            answer = said(cache.local.read([rest[0]])[0])
        elif what == "until forgotten":
            await until(lambda: cache.local.read([rest[0]]) == [None])
            answer = cache.statistics().heard
        print(json.dumps(answer), flush=True)
    await cache.close()


asyncio.run(main())
"""


class Node:
    """A process with its own cache."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", NODE, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "up"

    def ask(self, *words: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], ANSWER_S_MAX)[0], "it does not answer"
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def nodes(redis_server: RedisServer) -> Iterator[tuple[Node, Node]]:
    one, two = Node(redis_server.url), Node(redis_server.url)
    yield one, two
    one.end()
    two.end()


def test_a_write_of_one_process_is_forgotten_by_the_other(nodes: tuple[Node, Node]) -> None:
    """The bound of staleness is a minute here, so only the message can remove the entry."""
    one, two = nodes
    for number in range(1, 40, 2):
        one.ask("set", "a", number)
        if number > 1:  # It has the value of the last round until the message arrives.
            two.ask("until forgotten", "a")
        assert two.ask("get", "a") == number
        assert two.ask("local", "a") == number, "it is served from here now"
        one.ask("set", "a", number + 1)
        assert two.ask("until forgotten", "a") >= number
        assert two.ask("get", "a") == number + 1
    one.ask("delete", "a")
    two.ask("until forgotten", "a")
    assert two.ask("get", "a") is None


def test_both_write_and_the_newest_stays(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.ask("set", "a", 7)
    two.ask("set", "a", 5)
    assert two.ask("get", "a") == 7
    assert one.ask("get", "a") == 7


async def test_a_write_of_a_killed_process_remains(
    nodes: tuple[Node, Node], redis_server: RedisServer
) -> None:
    one, two = nodes
    one.ask("set", "a", 3)
    one.end()
    assert two.ask("get", "a") == 3
    third = open_cache(redis_server.url, newest_wins=True)
    assert await third.get_many(["a"]) == [(3).to_bytes(8, "big")]
    await third.close()
