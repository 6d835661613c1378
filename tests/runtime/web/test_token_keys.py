"""Rotation of the keys that sign tokens: durable, seen by running servers, and no page ends."""

import asyncio
import json
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.streaming.ports import Refused
from callboard.messages.control.principals import LOCAL, Scope
from callboard.messages.core.errors import UsageError
from callboard.runtime.cli.commands.group import group
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.runtime.web import token_keys
from callboard.runtime.web.token_keys import (
    CHECKED_EACH_S,
    KEYS_MAX,
    KeyFile,
    open_keys,
    remove_old_keys,
    rotate_keys,
)
from callboard.runtime.web.token_registry import TokenRegistry
from callboard.runtime.web.tokens import Tokens
from tests.runtime.web.routes.api_world import api_world
from tests.thoroughness import examples

HERE = "127.0.0.1"
OWN = {"X-Callboard": "test"}


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def tokens_of(path: Path, clock: Clock) -> Tokens:
    registry = TokenRegistry(MemoryReadModelStore(), "one")
    return Tokens(KeyFile(path, clock), registry, "one")


async def counts(tokens: Tokens, text: str) -> bool:
    try:
        await tokens.authenticate(text, HERE)
    except Refused:
        return False
    return True


@given(steps=st.lists(st.sampled_from(["rotate", "remove", "create", "restart"]), max_size=25))
@settings(max_examples=examples(40))
def test_a_token_counts_exactly_while_its_key_is_in_the_file(steps: list[str]) -> None:
    async def run(path: Path) -> None:
        clock = Clock()
        tokens = tokens_of(path, clock)
        made: list[tuple[str, str]] = []
        for step in steps:
            clock.now_s += CHECKED_EACH_S
            if step == "rotate":
                before = open_keys(path)
                after = rotate_keys(path, by="ada", now=1.0)
                assert set(after.by_id) == {*before.by_id, after.newest.id}
            elif step == "remove":
                remove_old_keys(path)
            elif step == "restart":
                tokens._keys = KeyFile(path, clock)  # type: ignore[misc]  # a new process
            else:
                text, _ = await tokens.create("ada", 3_600.0, scopes=[Scope.READ])
                made.append((open_keys(path).newest.id, text))
            clock.now_s += CHECKED_EACH_S
            there = open_keys(path).by_id
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            for key, text in made:
                assert await counts(tokens, text) == (key in there)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder) / "one.keys"))


def test_rotations_at_once_lose_no_key(tmp_path: Path) -> None:
    path = tmp_path / "one.keys"
    open_keys(path)

    def rotate(_number: int) -> str:
        while True:
            try:
                return rotate_keys(path, by="ada", now=1.0).newest.id
            except UsageError:
                continue  # Another one rotates now.

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(rotate, range(12)))
    keys = open_keys(path)
    assert set(made) < set(keys.by_id)
    assert len(keys.by_id) == 13
    assert keys.newest.created_by == "ada"
    assert [each.name for each in tmp_path.iterdir() if each.suffix not in (".keys", ".lock")] == []


def test_there_is_a_limit_of_keys_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "one.keys"
    open_keys(path)
    for _ in range(KEYS_MAX - 1):
        rotate_keys(path, by="ada", now=1.0)
    with pytest.raises(UsageError, match="limit"):
        rotate_keys(path, by="ada", now=1.0)
    assert len(remove_old_keys(path)) == KEYS_MAX - 1
    assert len(open_keys(path).by_id) == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"keys": {}}', b"\xff" * 70_000, None])
async def test_a_damaged_file_changes_nothing_for_those_who_run(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "one.keys", Clock()
    tokens = tokens_of(path, clock)
    text, _ = await tokens.create("ada", 3_600.0, scopes=[Scope.READ])
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
        with pytest.raises(UsageError, match="no file of keys"):
            rotate_keys(path, by="ada", now=1.0)
    clock.now_s += CHECKED_EACH_S
    assert await counts(tokens, text)
    assert "keys of before stay" in caplog.text
    assert text not in caplog.text


async def test_a_page_that_is_open_across_a_rotation_stays_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_keys, "CHECKED_EACH_S", 0.0)
    path = tmp_path / "one.keys"
    async with api_world(tmp_path) as world:
        world.tokens._keys = KeyFile(path)  # type: ignore[misc]  # those of a file
        code = await world.tokens.create_code(LOCAL)
        async with httpx.AsyncClient(base_url=world.url, headers={**OWN}) as page:
            page.headers["origin"] = world.url.rstrip("/")
            assert (await page.post("v1/login", json={"code": code})).status_code == 204
            first = (await page.post("v1/token")).json()["token"]
            assert "set-cookie" not in (await page.post("v1/token")).headers
            rotate_keys(path, by="ada", now=1.0)
            old = {"authorization": f"Bearer {first}"}
            assert (await page.get("v1/me", headers=old)).status_code == 200
            renewed = await page.post("v1/token")
            assert "HttpOnly" in renewed.headers["set-cookie"]
            remove_old_keys(path)
            assert (await page.get("v1/me", headers=old)).status_code == 401
            again = await page.post("v1/token")
            assert again.status_code == 200
            new = {"authorization": f"Bearer {again.json()['token']}"}
            assert (await page.get("v1/me", headers=new)).status_code == 200
            # A revocation still ends it.
            await world.tokens.revoke(again.json()["id"])
            assert (await page.post("v1/token")).status_code == 401


def test_the_command_rotates_and_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_HOME", str(tmp_path))
    run = CliRunner()
    nothing = run.invoke(group, ["token", "rotate"])
    assert "no file of keys" in str(nothing.exception)
    text = run.invoke(group, ["token", "create", "ada"]).stdout.strip()
    keys = tmp_path / "tokens" / "callboard.keys"
    before = open_keys(keys).newest.id
    rotated = json.loads(run.invoke(group, ["token", "rotate", "--json"]).stdout)
    assert rotated["old"] == [before]
    assert open_keys(keys).newest.id == rotated["newest"]
    removed = json.loads(run.invoke(group, ["token", "rotate", "--remove-old", "--json"]).stdout)
    assert removed == {"removed": [before]}
    (row,) = json.loads(run.invoke(group, ["token", "list", "--json"]).stdout)["tokens"]
    assert row["created_by"].startswith("local:")
    assert text not in keys.read_text()
