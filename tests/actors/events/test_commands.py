"""Commands on aggregates: decided on the newest state and appended once, despite conflicts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from callboard.actors.events.aggregate import Aggregate, applies, decides
from callboard.actors.events.codec import EventCodec, Unknown, metadata_of
from callboard.actors.events.commands import RECENT_MAX, Commands
from callboard.actors.journal.core import JournalLimits
from callboard.actors.journal.journal import Journal
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import DeadlineExceeded, SpecError
from callboard.messages.storage.errors import (
    CommitUnknown,
    StoreUnavailable,
    UnknownEvent,
    WrongExpectedVersion,
)
from callboard.messages.storage.events import EventStore
from callboard.runtime.stores.memory import MemoryEventStore
from callboard.runtime.stores.sqlite import SqliteEventStore
from tests.actors.journal.faulty import FaultyStore

from .ledger import (
    WAIT_S,
    Account,
    Balance,
    Deposit,
    Deposited,
    Overdrawn,
    Withdraw,
    Withdrawn,
    codec_of,
    deposits,
    journal,
    stranger,
)

CODEC = codec_of()


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    store: EventStore = MemoryEventStore()
    if request.param == "sqlite":
        store = SqliteEventStore(tmp_path / "log.db", durability="off")
    async with journal(store) as made:
        yield made


def commands_on(log: Journal, retries_max: int = 10) -> Commands[Balance]:
    return Commands(log, Account(), CODEC, retries_max=retries_max)


async def amounts(log: Journal, stream: str = "a") -> list[int]:
    """The balance after each event of the stream."""
    found, balance = [], Balance()
    for recorded in await log.read_stream(stream, limit=100_000):
        body = CODEC.body_of(recorded)
        assert body is not None
        balance = Account().apply(balance, body)
        found.append(balance.amount)
    return found


async def test_what_a_command_leads_to(log: Journal) -> None:
    commands = commands_on(log)
    done = await commands.execute(
        "a", Deposit(amount=5, parts=2), command_id="c", metadata={"by": "me"}
    )
    assert done.events == (Deposited(amount=5), Deposited(amount=5))
    assert (done.state, done.version, done.position) == (Balance(amount=10), 2, 2)
    assert (done.is_repeat, done.decisions) == (False, 1)
    for recorded in await log.read_stream("a"):
        assert metadata_of(recorded) == {"by": "me", "command": "c"}
    with pytest.raises(Overdrawn):
        await commands.execute("a", Withdraw(amount=11))
    nothing = await commands.execute("a", Withdraw(amount=0))
    assert (nothing.events, nothing.position, nothing.version) == ((), 0, 2)
    assert commands.statistics.refused == 1


async def test_many_writers_of_one_aggregate(log: Journal) -> None:
    writers = [commands_on(log, retries_max=1_000) for _ in range(6)]
    done = await asyncio.gather(
        *(writers[n % 6].execute("a", Deposit(amount=1)) for n in range(120))
    )
    assert sorted(each.version for each in done) == list(range(1, 121))
    assert all(each.state.amount == each.version for each in done)
    assert sum(writer.statistics.conflicts for writer in writers) > 0
    assert await amounts(log) == list(range(1, 121))


async def test_an_account_is_never_overdrawn_by_many_at_once(log: Journal) -> None:
    writers = [commands_on(log, retries_max=1_000) for _ in range(5)]
    await writers[0].execute("a", Deposit(amount=20))
    done = await asyncio.gather(
        *(writers[n % 5].execute("a", Withdraw(amount=1)) for n in range(60)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Overdrawn) for each in done) == 40
    assert await amounts(log) == [20, *range(19, -1, -1)]


async def test_a_repeated_command_does_nothing_twice(log: Journal) -> None:
    first, second = commands_on(log), commands_on(log)
    once = await first.execute("a", Deposit(amount=5, parts=2), command_id="c")
    await first.execute("a", Withdraw(amount=10), command_id="w")
    for commands in (first, second):
        again = await commands.execute("a", Deposit(amount=5, parts=2), command_id="c")
        assert again.is_repeat
        assert (again.events, again.position) == (once.events, once.position)
        assert (again.state, again.version) == (Balance(), 3)
        # It would be refused now, but it has happened.
        assert (await commands.execute("a", Withdraw(amount=10), command_id="w")).is_repeat
        assert commands.statistics.repeats == 2
    other = await first.execute("b", Deposit(amount=1), command_id="c")
    assert not other.is_repeat, "another stream's command"
    assert len(await amounts(log)) == 3


async def test_the_same_command_from_many_at_once_happens_once(log: Journal) -> None:
    writers = [commands_on(log) for _ in range(4)]
    done = await asyncio.gather(
        *(writers[n % 4].execute("a", Deposit(amount=1, parts=3), command_id="c")
          for n in range(20))
    )  # fmt: skip
    assert sum(not each.is_repeat for each in done) == 1
    assert {each.position for each in done} == {3}
    assert await amounts(log) == [1, 2, 3]


async def test_a_repetition_is_known_however_old(log: Journal) -> None:
    commands = commands_on(log)
    await commands.execute("a", Deposit(amount=5), command_id="old deposit")
    await commands.execute("a", Withdraw(amount=5), command_id="old")
    for _ in range(RECENT_MAX + 5):
        await commands.execute("a", Deposit(amount=1))
    await commands.execute("a", Withdraw(amount=RECENT_MAX + 5))
    count = len(await amounts(log))
    for fresh in (commands, commands_on(log)):
        # Refused if decided again; known by its events all the same.
        again = await fresh.execute("a", Withdraw(amount=5), command_id="old")
        assert again.is_repeat
        assert (again.events, again.position) == ((Withdrawn(amount=5),), 2)
        # Decided again to other events, more and fewer.
        for parts in (1, 2):
            more = await fresh.execute(
                "a", Deposit(amount=7, parts=parts), command_id="old deposit"
            )
            assert more.is_repeat
            assert more.events == (Deposited(amount=5),)
        assert (await fresh.execute("a", Withdraw(amount=0), command_id="old")).is_repeat
    with pytest.raises(Overdrawn):
        await commands.execute("a", Withdraw(amount=5), command_id="new")
    assert len(await amounts(log)) == count


async def test_the_state_is_kept_and_brought_up_to_date(log: Journal) -> None:
    commands = commands_on(log)
    for _ in range(10):
        await commands.execute("a", Deposit(amount=1))
    assert (commands.statistics.events_read, commands.statistics.cache_hits) == (0, 9)
    await log.append("a", deposits(CODEC, 3, first=100))
    # A refusal that was decided on an old state is not believed.
    done = await commands.execute("a", Withdraw(amount=300))
    assert (done.state.amount, done.decisions) == (13, 2)
    await log.append("a", deposits(CODEC, 1))
    done = await commands.execute("a", Deposit(amount=1))
    assert (done.version, done.decisions) == (16, 2)
    assert commands.statistics.conflicts == 1
    assert (await commands.load("a")).version == 16


async def test_no_more_states_than_allowed_are_kept(log: Journal) -> None:
    commands = Commands(log, Account(), CODEC, cached_max=2)
    for stream in ("a", "b", "c", "a"):
        await commands.execute(stream, Deposit(amount=1))
    assert commands.statistics.cache_hits == 0
    assert not commands._locks
    assert list(commands._cached) == ["c", "a"]


class Rushed(Account):
    """Another writer is always faster."""

    def __init__(self, rival: "Rival") -> None:
        super().__init__()
        self.rival = rival

    def decide(self, state: Balance, command: Contract) -> tuple[Contract, ...]:
        self.rival.write()
        return super().decide(state, command)


class Rival:
    """Appends before every append of the journal."""

    def __init__(self, log: Journal) -> None:
        self.log = log
        self.tasks: list[asyncio.Task[object]] = []

    def write(self) -> None:
        event = CODEC.encode(Deposited(amount=1))
        append = self.log.append("a", [event])
        self.tasks.append(asyncio.get_running_loop().create_task(append))


async def test_who_always_loses_gives_up(log: Journal) -> None:
    rival = Rival(log)
    await log.append("a", deposits(CODEC, 1))

    class Late:
        """The journal, where the rival comes first."""

        head = 0
        read, read_stream, on_commit = log.read, log.read_stream, log.on_commit

        async def append(self, *args: object) -> object:
            await asyncio.gather(*rival.tasks)
            return await log.append(*args)  # type: ignore[arg-type]

    commands = Commands(Late(), Rushed(rival), CODEC, retries_max=3)  # type: ignore[arg-type]
    with pytest.raises(WrongExpectedVersion):
        await commands.execute("a", Deposit(amount=1))
    assert commands.statistics.conflicts == 4
    assert len(await amounts(log)) == 5


IMPATIENT = JournalLimits(patience_s=0.0)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_commit_that_may_have_happened(times: int) -> None:
    store = FaultyStore()
    async with journal(store, IMPATIENT) as log:
        commands = commands_on(log)
        await commands.execute("a", Deposit(amount=1))
        store.faults.extend(CommitUnknown("?") for _ in range(times))
        done = await commands.execute("a", Deposit(amount=5, parts=2), command_id="c")
        assert not done.is_repeat, "it was this one"
        assert (done.state, done.version, done.position) == (Balance(amount=11), 3, 3)
        assert (await commands.execute("a", Deposit(amount=5), command_id="c")).is_repeat
        assert await amounts(log) == [1, 6, 11]


async def test_a_failed_store_raises_and_the_command_may_be_sent_again() -> None:
    store = FaultyStore()
    async with journal(store, IMPATIENT) as log:
        commands = commands_on(log)
        store.faults.append(StoreUnavailable("gone"))
        with pytest.raises(StoreUnavailable):
            await commands.execute("a", Deposit(amount=1), command_id="c")
        done = await commands.execute("a", Deposit(amount=1), command_id="c")
        assert (done.is_repeat, done.version) == (False, 1)


async def test_a_command_whose_time_is_over_may_be_sent_again() -> None:
    store = FaultyStore()
    async with journal(store) as log:
        commands = commands_on(log)
        store.gate.clear()
        with pytest.raises(DeadlineExceeded, match="again"):
            await commands.execute("a", Deposit(amount=1), command_id="c", timeout_s=0.05)
        store.gate.set()
        done = await commands.execute("a", Deposit(amount=1), command_id="c", timeout_s=WAIT_S)
        assert (done.is_repeat, done.version) == (True, 1)
        assert await amounts(log) == [1]


class Total(Contract, name="tests.events.total"):
    amount: int = 0


class Odd(Aggregate[Total]):
    """Does what aggregates must not."""

    state = Total

    @applies
    def deposited(self, state: Total, event: Deposited) -> Total:
        if event.amount == 13:
            raise ArithmeticError("not this one")
        if event.amount == 14:
            return None  # type: ignore[return-value]
        return Total(amount=state.amount + event.amount)

    @decides
    def deposit(self, state: Total, command: Deposit) -> Contract:
        if command.amount == 1:
            raise TimeoutError("of its own")
        return Withdrawn(amount=1) if command.amount == 2 else Deposited(amount=command.amount)


async def test_what_does_not_apply_is_never_appended(log: Journal) -> None:
    commands = Commands(log, Odd(), CODEC)
    with pytest.raises(ArithmeticError):
        await commands.execute("a", Deposit(amount=13))
    with pytest.raises(SpecError, match="NoneType"):
        await commands.execute("a", Deposit(amount=14))
    with pytest.raises(TimeoutError, match="of its own"):
        await commands.execute("a", Deposit(amount=1))
    with pytest.raises(SpecError, match="withdrawn"):
        await commands.execute("a", Deposit(amount=2))
    with pytest.raises(SpecError, match="decides"):
        await commands.execute("a", Withdraw(amount=1))
    assert await amounts(log) == []


@pytest.mark.parametrize("unknown", [Unknown.STOP, Unknown.KEEP])
async def test_a_stream_with_an_unknown_event_has_no_state(log: Journal, unknown: Unknown) -> None:
    await log.append("a", [*deposits(CODEC, 1), stranger()])
    commands = Commands(log, Account(), codec_of(unknown))
    for _ in range(2):
        with pytest.raises(UnknownEvent):
            await commands.execute("a", Deposit(amount=1))
    with pytest.raises(SpecError, match="withdrawn"):
        Commands(log, Account(), EventCodec([Deposited]))


def test_what_an_aggregate_must_have() -> None:
    class Stateless(Aggregate[Balance]):
        pass

    class Twice(Account):
        @applies
        def also_deposited(self, state: Balance, event: Deposited) -> Balance:
            return state

    class Short(Account):
        @applies
        def short(self, event: Deposited) -> Balance:
            return Balance()

    class Plain(Account):
        @decides
        def plain(self, state: Balance, command: int) -> None:
            return None

    for wrong in (Stateless, Twice, Short, Plain):
        with pytest.raises(SpecError):
            wrong()
    account = Account()
    assert {each.contract_name for each in account.events} == set(CODEC.kinds)
    folded = account.fold(account.empty(), [Deposited(amount=3), Withdrawn(amount=1)])
    assert folded == Balance(amount=2)
