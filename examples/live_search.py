"""Search files, and get each hit in the moment that it is found.

    python live_search.py WORD [FOLDER] [hosts=2] [ui=yes] ...  # the driver
    CALLBOARD_TOKEN=... python live_search.py follow URL        # a client outside, over HTTP

The handler yields its hits, and its reply last. The driver reads it with `ref.stream`, and the
handler is never more than a few hits ahead of it. The handler also publishes each hit to the
channel `hits`, for clients of the page's server. It never waits for them: a slow one loses the
oldest hits, and learns how many. `callboard token create NAME --channel hits` makes their token.
"""

import asyncio
import json
import os
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from callboard import Actor, Context, Contract, Request, Settings, System, handler, run

HITS_MAX = 20
"""The driver stops after so many hits."""


class Hit(Contract, name="live_search.hit"):
    """A line with the word."""

    path: str
    line: int
    text: str


class Searched(Contract, name="live_search.searched"):
    """The end of a search."""

    files: int
    hits: int


class Search(Request[Searched], name="live_search.search"):
    """Search the Python files of a folder for a word."""

    folder: str
    word: str


class Searcher(Actor):
    """Reads files one by one."""

    @handler
    async def search(self, request: Search, ctx: Context) -> AsyncIterator[Hit | Searched]:
        """Yield each hit, and then the counts."""
        files = hits = 0
        for path in sorted(Path(request.folder).rglob("*.py")):
            files += 1
            text = await asyncio.to_thread(path.read_text, encoding="utf-8", errors="replace")
            for number, line in enumerate(text.splitlines(), start=1):
                if request.word in line:
                    hits += 1
                    hit = Hit(path=str(path), line=number, text=line.strip()[:200])
                    ctx.publish("hits", hit)
                    yield hit
        yield Searched(files=files, hits=hits)


async def search(system: System, word: str, folder: str) -> Searched | None:
    """Print hits as they come; None when there are more than `HITS_MAX`."""
    searcher = await system.spawn(Searcher)
    request = Search(folder=folder, word=word)
    found = 0
    # `aclosing` ends the search at once when this loop ends early.
    async with aclosing(searcher.stream(request, Hit, timeout_s=60.0)) as hits:
        async for hit in hits:
            if isinstance(hit, Searched):
                return hit
            if found == HITS_MAX:
                return None
            found += 1
            print(f"{hit.path}:{hit.line}: {hit.text}", flush=True)
    return None


def follow(url: str, token: str, channel: str = "hits") -> Iterator[dict[str, Any]]:
    """The events of a channel, by server-sent events and the standard library alone."""
    address = f"{url.rstrip('/')}/v1/stream?channel={channel}"
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - the user's own address
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - as above
        for line in answer:
            if line.startswith(b"data:"):
                yield json.loads(line[5:])


def main(words: list[str]) -> None:
    """Read the command line."""
    if words[:1] == ["follow"] and len(words) == 2:
        for event in follow(words[1], os.environ["CALLBOARD_TOKEN"]):
            print(json.dumps(event), flush=True)
        return
    plain = [word for word in words if "=" not in word]
    if not 1 <= len(plain) <= 2:
        sys.exit(__doc__)
    word, folder = plain[0], plain[1] if len(plain) == 2 else "."
    settings = Settings.from_words(word for word in words if "=" in word)
    ended = run(lambda system: search(system, word, folder), settings)
    print(f"{ended.hits} hits in {ended.files} files" if ended else f"more than {HITS_MAX} hits")


if __name__ == "__main__":
    main(sys.argv[1:])
