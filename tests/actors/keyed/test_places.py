"""Keyed actors and their keys: the owners, the refusals, and the senders that wait for room."""

import asyncio
import enum
from collections import Counter as Tally
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NewType
from uuid import UUID

import pytest
from pydantic import Field

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.actors.keyed.actor import KeyedActor, check_keyed
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.control.routing import Routing, consistent_hash
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import (
    ActorNotFound,
    CallboardError,
    InvalidMessage,
    MailboxFull,
    NoAgentOffers,
    SpecError,
)
from callboard.messages.core.ref import Ref
from callboard.runtime.api.start import start
from callboard.testing import Simulation, simulated

from .disk import Add, AddSoon, Count, Counter, Disk, Small, Strict, Wait

USERS = [f"u{n}" for n in range(40)]


@pytest.fixture(autouse=True)
def disk() -> Iterator[None]:
    Disk.wipe()
    yield
    Disk.wipe()


class Outcome(Contract, name="keyed.outcome"):
    error: str


class TellOf(Request[Outcome], name="keyed.tell_of"):
    to: Ref[Any] | None = None
    user: str
    times: int = 1


class SendOf(Request[Outcome], name="keyed.send_of"):
    to: Ref[Any] | None = None
    user: str
    times: int = 1


class Odd(Contract, name="keyed.odd"):
    user: str | None


class Friend(Actor):
    """Tells and sends from its host."""

    @handler
    async def tell_of(self, request: TellOf, ctx: Context) -> Outcome:
        try:
            for _ in range(request.times):
                if request.to is None:
                    ctx.tell(AddSoon(user=request.user))
                else:
                    request.to.tell(AddSoon(user=request.user))
        except CallboardError as error:
            return Outcome(error=type(error).__name__)
        return Outcome(error="")

    @handler
    async def send_of(self, request: SendOf, ctx: Context) -> Outcome:
        for _ in range(request.times):
            if request.to is None:
                await ctx.send(AddSoon(user=request.user))
            else:
                await ctx.send(AddSoon(user=request.user), request.to)
        return Outcome(error="")


class Oddly(KeyedActor):
    key: ClassVar[str] = "user"

    @handler
    async def odd(self, message: Odd) -> None:
        raise AssertionError(message)


class Plain(Actor):
    @handler
    async def add(self, request: Add) -> Count:
        return Count(number=-1)


class NoKey(KeyedActor):
    @handler
    async def add(self, request: Add) -> Count:
        return Count(number=-1)


class WrongKey(NoKey):
    key: ClassVar[str] = "account"


@pytest.mark.parametrize(
    ("actor", "says"),
    [
        (Plain, "Plain is not a keyed actor"),
        (NoKey, r"NoKey.key is ''"),
        (WrongKey, r"WrongKey handles keyed\.add, which has no field 'account'"),
    ],
)
def test_wrong_keyed_actor_is_refused(actor: type[Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        check_keyed(actor)


class Switch(enum.Enum):
    OFF = 0
    ON = "0"


Badge = NewType("Badge", str)


def keyed_by(*annotations: Any) -> type[KeyedActor]:
    """A keyed actor with one contract for each annotation of its key."""
    body: dict[str, Any] = {"key": "user"}
    for number, annotation in enumerate(annotations):
        contract = type(
            f"Typed{number}",
            (Contract,),
            {"__annotations__": {"user": annotation}, "__module__": __name__},
            name=f"keyed.typed_{number}",
        )

        async def take(self: Any, message: Any) -> None: ...

        take.__annotations__["message"] = contract
        body[f"take_{number}"] = handler(take)
    return type("ByType", (KeyedActor,), body)


@pytest.mark.parametrize(
    ("annotations", "says"),
    [
        ((int, str), r"int \(in keyed\.typed_0\), str \(in keyed\.typed_1\)"),
        ((str, bytes), r"bytes \(in keyed\.typed_1\), str \(in keyed\.typed_0\)"),
        ((str, UUID), r"UUID \(in keyed\.typed_1\), str"),
        ((int | str,), r"int \(in keyed\.typed_0\), str \(in keyed\.typed_0\)"),
        ((Annotated[int, Field(ge=0)], str), "int .*, str"),
        ((Literal["a", 1],), "int .*, str"),
        ((Switch,), "int .*, str"),
        ((Badge, int), "int .*, str"),
    ],
)
def test_keys_of_several_types_are_refused_because_their_texts_may_be_equal(
    annotations: tuple[Any, ...], says: str
) -> None:
    with pytest.raises(SpecError, match=f"the keys 'user' of ByType have several types: {says}"):
        check_keyed(keyed_by(*annotations))


@pytest.mark.parametrize("annotation", [Any, object, float, str | float, list[str]])
def test_key_whose_type_says_nothing_of_its_text_is_refused(annotation: Any) -> None:
    with pytest.raises(SpecError, match=r"ByType\.key 'user' is a .* in keyed\.typed_0"):
        check_keyed(keyed_by(annotation))


@pytest.mark.parametrize("kind", [str, int, bytes, UUID, str | None, Literal["a", "b"], Badge])
def test_keys_of_one_type_in_all_contracts_are_accepted(kind: Any) -> None:
    check_keyed(keyed_by(kind, kind))


@pytest.mark.parametrize("field", ["idle_s", "active_max", "save_every", "save_after_s"])
async def test_wrong_limit_is_refused(field: str) -> None:
    async with start(engine="inline", hosts=1) as system:
        limits: dict[str, Any] = {field: 0}
        with pytest.raises(SpecError, match=field):
            await system.keyed(Counter, **limits)


async def owners(sim: Simulation) -> dict[str, str]:
    found = {}
    for user in USERS:
        try:
            found[user] = (await sim.system.ask(Add(user=user))).host
        except ActorNotFound:
            found[user] = ""
    return found


@simulated(hosts=3)
async def test_keys_of_a_stopped_key_region_have_no_owner_and_do_not_move(sim: Simulation) -> None:
    regions = (await sim.system.keyed(Counter)).refs
    before = await owners(sim)
    assert Tally(before.values()).keys() == {"host-1", "host-2", "host-3"}
    await sim.system.stop(regions[1])
    assert await owners(sim) == {u: "" if h == "host-2" else h for u, h in before.items()}
    with pytest.raises(SpecError, match="handled already"):
        await sim.system.keyed(Counter, name="again")
    await sim.system.stop(regions[0])
    await sim.system.stop(regions[2])
    with pytest.raises(NoAgentOffers):
        await sim.system.ask(Add(user="u1"))
    await sim.system.keyed(Counter)
    assert "" not in (await owners(sim)).values()


@simulated(hosts=3)
async def test_keys_of_a_host_that_is_down_wait_for_it(sim: Simulation) -> None:
    await sim.system.keyed(Counter)
    before = await owners(sim)
    sim.crash(2)
    await sim.advance(0.05)
    assert await owners(sim) == before


@simulated()
async def test_keyed_actors_share_their_contracts_with_nobody(sim: Simulation) -> None:
    await sim.system.spawn(Plain, offer=True, name="plain")
    with pytest.raises(SpecError, match="handled already"):
        await sim.system.keyed(Counter)
    await sim.system.stop(await sim.system.lookup("plain"))
    await sim.system.keyed(Counter)
    with pytest.raises(SpecError, match="handled already"):
        await sim.system.spawn(Plain, offer=True)
    with pytest.raises(SpecError, match="handled already"):
        await sim.system.pool(Plain)


@simulated()
async def test_two_kinds_of_one_contract_at_once_are_one(sim: Simulation) -> None:
    kinds = (sim.system.keyed(Counter, name=name) for name in ("one", "two"))
    outcomes = await asyncio.gather(*kinds, return_exceptions=True)
    assert [isinstance(outcome, SpecError) for outcome in outcomes].count(True) == 1
    assert (await sim.system.ask(Add(user="a"))).number == 1
    assert (await sim.system.ask(Add(user="a"))).number == 2


@simulated(hosts=2)
async def test_message_of_a_bad_key_or_of_another_hosts_key_says_so(
    sim: Simulation,
) -> None:
    dead_letters: asyncio.Queue[DeadLetter] = asyncio.Queue()
    await sim.system.on_dead_letter(dead_letters.put_nowait)
    regions = (await sim.system.keyed(Counter)).refs
    await sim.system.keyed(Oddly)
    before = await owners(sim)
    here = next(user for user, host in before.items() if host == "host-1")
    there = next(user for user, host in before.items() if host == "host-2")
    with pytest.raises(ActorNotFound, match="does not own this key"):
        await regions[0].ask(Add(user=there))
    assert (await regions[0].ask(Add(user=here))).number == 2
    regions[0].tell(AddSoon(user=there))
    letter = await dead_letters.get()
    assert (letter.reason, letter.error and letter.error["code"]) == ("refused", "actor_not_found")
    friend = await sim.system.spawn(Friend, host=1)
    outcome = await friend.ask(TellOf(to=regions[0], user=there))
    assert outcome.error == "ActorNotFound"
    with pytest.raises(InvalidMessage, match="A key is a str"):
        sim.system.tell(Odd(user=None))


@simulated(hosts=2)
async def test_tell_and_send_by_contract_reach_the_key_from_drivers_and_actors(
    sim: Simulation,
) -> None:
    await sim.system.keyed(Counter)
    friends = [await sim.system.spawn(Friend, host=host) for host in (1, 2)]
    for user in USERS[:8]:
        sim.system.tell(AddSoon(user=user))
        await sim.system.send(AddSoon(user=user))
        for friend in friends:
            assert (await friend.ask(TellOf(user=user))).error == ""
            assert (await friend.ask(SendOf(user=user))).error == ""
        await sim.advance(1.0)  # What different senders send has no order.
        assert (await sim.system.ask(Add(user=user))).number == 7


@simulated(hosts=1)
async def test_tell_to_a_full_key_is_refused_and_send_waits(sim: Simulation) -> None:
    """On the host of the key region, while the key activates, and while it is active."""
    (region,) = (await sim.system.keyed(Small, store=Disk())).refs
    friend = await sim.system.spawn(Friend, host=1)
    for user, busy_s in (("loading", 0.0), ("working", 1.0)):
        Disk.takes_s = 1.0 - busy_s
        wait = asyncio.ensure_future(sim.system.ask(Wait(user=user, for_s=busy_s)))
        await sim.advance(0.5)
        assert (await friend.ask(TellOf(to=region, user=user, times=5))).error == "MailboxFull"
        await friend.ask(SendOf(to=region, user=user, times=20))
        await wait
        sent = 20 + (1 if busy_s == 0.0 else 2)
        assert (await sim.system.ask(Add(user=user))).number == sent + 1


@simulated(hosts=1)
async def test_messages_from_afar_wait_for_a_full_key_in_order(sim: Simulation) -> None:
    await sim.system.keyed(Small, store=Disk())
    for user, busy_s in (("loading", 0.0), ("working", 1.0)):
        Disk.takes_s = 1.0 - busy_s
        wait = asyncio.ensure_future(sim.system.ask(Wait(user=user, for_s=busy_s)))
        await sim.advance(0.5)
        for _ in range(50):
            await sim.system.send(AddSoon(user=user))
        asks = [asyncio.ensure_future(sim.system.ask(Add(user=user))) for _ in range(50)]
        assert [reply.number for reply in await asyncio.gather(*asks)] == [*range(51, 101)]
        await wait


@simulated(hosts=1)
async def test_full_key_of_a_kind_that_refuses_refuses(sim: Simulation) -> None:
    await sim.system.keyed(Strict, store=Disk())
    Disk.takes_s = 1.0
    asks = [asyncio.ensure_future(sim.system.ask(Add(user="a"))) for _ in range(5)]
    outcomes = await asyncio.gather(*asks, return_exceptions=True)
    assert [isinstance(outcome, MailboxFull) for outcome in outcomes] == [False] * 2 + [True] * 3


@simulated(hosts=3)
async def test_pool_by_consistent_hash_keeps_a_key_at_a_host(sim: Simulation) -> None:
    await sim.system.pool(Placed, size=6, routing=consistent_hash("user"))
    for _ in range(2):
        hosts = [(await sim.system.ask(Add(user=user))).host for user in USERS]
        assert len(set(hosts)) == 3
        again = [(await sim.system.ask(Add(user=user))).host for user in USERS]
        assert hosts == again


@simulated(hosts=3)
async def test_pool_that_is_routed_in_another_way_is_refused(sim: Simulation) -> None:
    parts = (await sim.system.pool(Placed, routing=Routing.LEAST_LOADED)).refs
    with pytest.raises(SpecError, match="routed by least_loaded already, not by round_robin"):
        await sim.system.pool(Placed, routing=Routing.ROUND_ROBIN, name="other")
    for part in parts:
        await sim.system.stop(part)
    await sim.system.pool(Placed, routing=Routing.ROUND_ROBIN)
    hosts = Tally([(await sim.system.ask(Add(user="a"))).host for _ in range(9)])
    assert hosts == {"host-1": 3, "host-2": 3, "host-3": 3}


class Placed(Actor):
    @handler
    async def add(self, request: Add, ctx: Context) -> Count:
        return Count(number=0, host=ctx.host_name)
