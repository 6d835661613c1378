"""`api`: the list of all actors of a large system over HTTP, as a page or a program reads it.

| figure | what happens |
|---|---|
| `first_page_p50_ms`, `_p99_ms` | `GET /v1/actors`, 50 items, from a client to a hub and back |
| `large_page_p50_ms`, `large_page_bytes` | the same with 500 items, the most of a page |
| `deep_page_p50_ms` | 50 items from the middle of the list |
| `system_p50_ms` | `GET /v1/system`, which all clients share for a second |
| `listed_per_s` | all actors, page after page; the check says that each was there once |
"""

import asyncio
import http.client
import itertools
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import callboard
from bench.ours.million import TIMEOUT_S, SpawnAll, parents_on
from bench.outcome import Outcome, Params, check_of
from bench.timing import percentile, timed
from callboard import System
from callboard.messages.control.principals import Scope
from callboard.runtime.api.tokens import open_tokens
from callboard.runtime.hosting.ui_settings import UiSettings

__all__ = ["run"]

KIND: Final = "Worker"
PAGE_MAX: Final = 500
HOUR_S: Final = 3_600.0
REPLY_S: Final = 60.0


class _Client:
    """Asks a hub over one connection. Its methods block."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.netloc), timeout=REPLY_S)
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> tuple[float, bytes]:
        """The milliseconds until the whole answer was there, and the answer."""
        begun = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - begun) * 1e3
        if answer.status != http.client.OK:
            msg = f"{path} was answered with {answer.status}: {body[:200]!r}"
            raise AssertionError(msg)
        return took_ms, body

    def times(self, path: str, count: int) -> tuple[list[float], int]:
        """The milliseconds of so many answers, and the bytes of the largest one."""
        found = [self.get(path) for _ in range(count)]
        return [took_ms for took_ms, _ in found], max(len(body) for _, body in found)

    def pages(self) -> int:
        """Read the whole list; the number of actors, each of which was there once."""
        seen: set[tuple[int, int]] = set()
        rows, after = 0, ""
        while True:
            page = json.loads(self.get(f"/v1/actors?limit={PAGE_MAX}&after={quote(after)}")[1])
            found = [row for row in page["items"] if row["kind"].rpartition(".")[2] == KIND]
            rows += len(found)
            seen.update((row["slot"], row["cell"]) for row in found)
            after = page["next"]
            if not after:
                break
        if len(seen) != rows:
            msg = f"of {rows} rows only {len(seen)} were of different actors"
            raise AssertionError(msg)
        return rows


def _measure(client: _Client, params: Params) -> tuple[dict[str, float], int]:
    turns = params["turns"]
    client.get("/v1/actors")
    first, _ = client.times("/v1/actors?limit=50", turns)
    large, size = client.times(f"/v1/actors?limit={PAGE_MAX}", turns)
    deep, _ = client.times(f"/v1/actors?limit=50&slot={params['hosts'] // 2 + 1}", turns)
    now, _ = client.times("/v1/system", turns)
    with timed() as listed:
        rows = client.pages()
    return {
        "first_page_p50_ms": percentile(first, 50),
        "first_page_p99_ms": percentile(first, 99),
        "large_page_p50_ms": percentile(large, 50),
        "large_page_bytes": float(size),
        "deep_page_p50_ms": percentile(deep, 50),
        "system_p50_ms": percentile(now, 50),
        "listed_per_s": listed.per_s(rows),
    }, rows


async def _spawn(system: System, params: Mapping[str, Any]) -> None:
    parents = await parents_on(system, params["hosts"])
    bounds = [params["actors"] * turn // len(parents) for turn in range(len(parents) + 1)]
    await asyncio.gather(
        *(
            # The parent adds one child more than it is asked for.
            parent.ask(SpawnAll(first=first, count=end - first - 1), timeout_s=TIMEOUT_S)
            for parent, (first, end) in zip(parents, itertools.pairwise(bounds), strict=True)
        )
    )


def run(params: Params) -> Outcome:
    """Fill a system with actors, and list them through its hub."""

    async def main(system: System) -> Outcome:
        await _spawn(system, params)
        with tempfile.TemporaryDirectory() as folder:
            store, keys = str(Path(folder) / "tokens.db"), Path(folder) / "keys"
            async with open_tokens("bench", store=store, keys=keys) as tokens:
                token, _ = await tokens.create("bench", HOUR_S, scopes=[Scope.READ])
            await system.ui.start(UiSettings(tokens=store, keys=str(keys)))
            (url,) = await system.ui.urls()
            client = _Client(url, token)
            results, rows = await asyncio.to_thread(_measure, client, params)
        return Outcome(results, check_of({"actors": rows}))

    return callboard.run(
        main, hosts=params["hosts"], standbys=0, ask_timeout_s=REPLY_S, name="bench"
    )
