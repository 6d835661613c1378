"""A root confirms its authority at its ledger."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from callboard.messages.core.errors import ClusterError
from callboard.runtime.control_plane import authority as rules
from callboard.runtime.detached import root_authority as module
from callboard.runtime.detached.root_authority import Claim, RootAuthority, claim_epoch

WITHIN_S = 20.0


class Entries:
    """A ledger in memory, which can lose answers and be out of reach."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.is_away = False
        self.lost_answers = 0
        self.asked = asyncio.Event()

    async def add(self, key: str, value: bytes) -> bool:
        self._reached()
        is_new = self.entries.setdefault(key, value) is value
        if self.lost_answers:
            self.lost_answers -= 1
            raise ClusterError("the answer is lost.")
        return is_new

    async def read_some(self, keys: Sequence[str]) -> dict[str, bytes]:
        self._reached()
        return {key: self.entries[key] for key in keys if key in self.entries}

    async def read(self) -> dict[str, bytes]:
        return self.entries

    async def write(self, entries: Mapping[str, bytes | None]) -> None:
        raise AssertionError(entries)

    def _reached(self) -> None:
        self.asked.set()
        if self.is_away:
            raise ClusterError("it does not answer.")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIRM_EVERY_S", 0.005)
    monkeypatch.setattr(module, "CLAIM_RETRY_S", 0.0)
    monkeypatch.setattr(module, "AUTHORITY_S", 0.05)
    monkeypatch.setattr(rules, "AUTHORITY_S", 0.05)
    monkeypatch.setattr(rules, "END_S", 0.3)


class Root:
    """One root's authority, and why it ended."""

    def __init__(self, ledger: Entries, claim: Claim) -> None:
        now = asyncio.get_running_loop().time
        self.over = asyncio.get_running_loop().create_future()
        self.authority = RootAuthority(
            ledger, claim, now, now(), self.over.set_result, is_alone=True
        )

    async def ended(self) -> str:
        async with asyncio.timeout(WITHIN_S):
            reason: str = await self.over
        return reason


async def test_each_root_claims_an_epoch_of_its_own_and_sees_the_others() -> None:
    ledger = Entries()
    assert await claim_epoch(ledger, 0, [], b"one") == Claim(1, b"one", ())
    assert await claim_epoch(ledger, 1, [1], b"two") == Claim(2, b"two", (b"one",))
    # Two that start at the same time: both have read that epoch 1 is the newest.
    assert await claim_epoch(ledger, 1, [1], b"three") == Claim(3, b"three", (b"one", b"two"))


async def test_a_claim_whose_answer_is_lost_is_made_once() -> None:
    ledger = Entries()
    ledger.lost_answers = 1
    assert await claim_epoch(ledger, 0, [], b"one") == Claim(1, b"one", ())
    assert ledger.entries == {"root/1": b"one"}


async def test_a_root_acts_until_a_newer_one_claims_and_then_ends() -> None:
    ledger = Entries()
    old = Root(ledger, await claim_epoch(ledger, 0, [], b"one"))
    async with asyncio.timeout(WITHIN_S):
        await old.authority.held()
        await old.authority.check()
    await claim_epoch(ledger, 1, [1], b"two")
    assert await old.ended() == "a newer root has taken its place"
    assert not old.authority.may_act()
    with pytest.raises(ClusterError, match="may not act now"):
        await old.authority.check()


async def test_a_root_out_of_reach_stops_acting_and_acts_again_when_it_is_back() -> None:
    ledger = Entries()
    root = Root(ledger, await claim_epoch(ledger, 0, [], b"one"))
    async with asyncio.timeout(WITHIN_S):
        await root.authority.held()
        ledger.is_away = True
        while root.authority.may_act():
            ledger.asked.clear()
            await ledger.asked.wait()
        ledger.is_away = False
        await root.authority.held()
    assert not root.over.done()
    root.authority.close()


async def test_a_root_that_stays_out_of_reach_ends() -> None:
    ledger = Entries()
    root = Root(ledger, await claim_epoch(ledger, 0, [], b"one"))
    ledger.is_away = True
    assert await root.ended() == "its ledger has not confirmed it for too long"


async def test_a_root_whose_ledger_was_erased_ends() -> None:
    """`callboard down` has given it up; it may have been cut off."""
    ledger = Entries()
    root = Root(ledger, await claim_epoch(ledger, 0, [], b"one"))
    ledger.entries.clear()
    assert await root.ended() == "its ledger was erased, or belongs to another system"
