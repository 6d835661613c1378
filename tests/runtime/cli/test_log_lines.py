"""`callboard logs`: the lines of a running system, for people and for machines."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from callboard.runtime.cli.outcome import ExitCode

DRIVER: Final = """
import logging
import sys

from callboard import Actor, Contract, Request, handler, run

logger = logging.getLogger("shop")


class Sold(Contract):
    pass


class Sell(Request[Sold]):
    what: str


class Shop(Actor):
    @handler
    async def sell(self, request: Sell) -> Sold:
        logger.warning("sold\\n%s \\x1b[31m", request.what)
        logger.error("none left")
        return Sold()


async def main(system):
    shop = await system.spawn(Shop, name="shop", host=1)
    await shop.ask(Sell(what="a hat"))
    print("up", flush=True)
    import asyncio
    await asyncio.to_thread(sys.stdin.readline)


run(main, engine="inline", hosts=1, name="demo", journal="off")
"""


def test_lines_are_shown_by_place_and_level(folder: Path, callboard: Callable[..., Any]) -> None:
    (folder / "driver.py").write_text(DRIVER)
    with subprocess.Popen(
        [sys.executable, "driver.py"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdin is not None
        try:
            assert driver.stdout.readline() == "up\n"
            shown = callboard("logs", "/shop")
            while "none left" not in shown.out:
                shown = callboard("logs", "/shop")
            errors = callboard("logs", "host-1", "--level", "error", "--json")
            nothing = callboard("logs", "elsewhere")
        finally:
            driver.stdin.close()
            driver.wait(20)
    first, second, third = shown.out.splitlines()
    assert first.endswith(" warning  host-1/shop shop: sold")
    assert second.startswith("    a hat ")
    assert "\x1b" not in shown.out
    assert third.endswith(" error    host-1/shop shop: none left")
    row = json.loads(errors.out)
    assert (row["path"], row["level"], row["text"]) == ("/shop", "error", "none left")
    assert (nothing.code, nothing.out) == (ExitCode.OK, "")


def test_without_a_system_it_says_so(
    callboard: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The systems of other tests are elsewhere.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = callboard("logs")
    assert ended.code == ExitCode.FAILED
    assert "you run no system" in ended.err
