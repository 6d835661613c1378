"""A pipeline in a store of read models: everything of one commit is one transaction.

The rows of the model `pipeline/NAME`:

| key | value |
|---|---|
| `status` | state, reason, owner, and the position of the source |
| `account` | the accounts |
| `state/STAGE` | the rows that a stage keeps |
| `letter/N` | a dead letter |
| `replay/N` | a person wants this letter replayed |
| `out/N` | rows on their way to a sink outside |
| `row/KEY` | a row of a sink inside |

The model's position is the number of its commits. A commit names the one before it, so of two
owners only one goes on, and a person's decision never meets a half-known state.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgpack

from callboard.messages.core.errors import UsageError
from callboard.messages.storage.errors import StoreDamaged, StoreUnavailable
from callboard.messages.storage.stores import ReadModelStore

from ..accounts import PipelineAccount
from ..core import StageState
from ..letters import DeadRow

__all__ = [
    "Changes",
    "PipelineState",
    "PipelineStore",
    "Status",
    "StoredPipeline",
    "letter_key",
    "out_key",
    "replay_key",
    "state_changes",
]

INDEX: Final = "callboard.pipelines"
FORMAT: Final = 1
DIGITS: Final = 12
PAGE: Final = 1_000
ATTEMPTS_MAX: Final = 100
"""Attempts of a person's decision to find the pipeline between two commits."""

Changes = dict[str, bytes | None]


@enum.unique
class PipelineState(enum.StrEnum):
    """The state of a pipeline."""

    RUNNING = "running"
    STOPPED = "stopped"
    """It stopped itself, for the stated reason, until someone resumes it."""
    ENDED = "ended"
    """Its source has ended, and everything is delivered."""


@dataclass(frozen=True, slots=True)
class Status:
    """The durable status of a pipeline."""

    state: PipelineState = PipelineState.RUNNING
    reason: str = ""
    owner: str = ""
    """The incarnation that writes it."""
    fence: int = 0
    version: int = 1
    """The version of the pipeline's spec."""
    position: Any = None
    """Where its source goes on."""
    batches: int = 0
    letters: int = 0
    """The number of dead letters that were ever made."""
    source: str = ""
    sink: str = ""
    committed_at: float = 0.0
    """When it was last stored, in seconds since 1970."""
    behind: int = -1
    """The rows that the source still had then; -1 if it does not know."""

    def encode(self) -> bytes:
        """The status for a store."""
        packed: bytes = msgpack.packb(
            (
                FORMAT, self.state, self.reason, self.owner, self.fence, self.version,
                self.position, self.batches, self.letters, self.source, self.sink,
                self.committed_at, self.behind,
            )
        )  # fmt: skip
        return packed

    @classmethod
    def decode(cls, data: bytes) -> "Status":
        """The status in these bytes. Raises `StoreDamaged`."""
        try:
            form, state, *rest = msgpack.unpackb(data, use_list=False, strict_map_key=False)
            assert form == FORMAT, f"its format is {form!r}"
            return cls(PipelineState(state), *rest)
        except (AssertionError, ValueError, TypeError, msgpack.UnpackException) as error:
            raise _damaged("status", error) from error


@dataclass(frozen=True, slots=True)
class StoredPipeline:
    """What the store has of a pipeline."""

    commit: int
    status: Status
    account: PipelineAccount | None
    states: Mapping[str, StageState] = field(default_factory=dict)
    outgoing: tuple[tuple[int, bytes], ...] = ()
    replays: tuple[int, ...] = ()


def state_changes(states: Mapping[str, StageState], known: Mapping[str, StageState]) -> Changes:
    """The rows of those states of stages that have changed."""
    return {
        f"state/{name}": None if not state.rows else _packed_state(name, state)
        for name, state in states.items()
        if known.get(name) is not state
    }


def _packed_state(name: str, state: StageState) -> bytes:
    try:
        packed: bytes = msgpack.packb((FORMAT, state.value, state.rows))
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"the state of the stage {name!r} cannot be stored: {error}.",
            advice="Keep plain values in the state.",
        ) from error
    return packed


class PipelineStore:
    """One pipeline in a store. Every method blocks: call it in a thread."""

    def __init__(self, store: ReadModelStore, name: str) -> None:
        self.store: Final = store
        self.name: Final = name
        self.model: Final = f"pipeline/{name}"

    # --- for the pipeline ----------------------------------------------------------------

    def open(self) -> None:
        """Open the store, and enter the pipeline into its index."""
        self.store.open()
        while self.store.get_many(INDEX, [self.name]) == [None]:
            before = self.store.position(INDEX)
            self.store.apply(INDEX, before, before + 1, {self.name: b""})

    def load(self) -> StoredPipeline:
        """What the store has. A commit meanwhile makes the next `commit` fail, not wrong."""
        before = self.store.position(self.model)
        status, account = self.store.get_many(self.model, ["status", "account"])
        return StoredPipeline(
            before,
            Status() if status is None else Status.decode(status),
            None if account is None else PipelineAccount.decode(account),
            {key[6:]: _state(key, value) for key, value in self._all("state/")},
            tuple((int(key[4:]), value) for key, value in self._all("out/")),
            tuple(int(key[7:]) for key, _ in self._all("replay/", limit=PAGE)),
        )

    def commit(self, before: int, changes: Mapping[str, bytes | None]) -> bool:
        """Store these rows in one transaction. False, and no change, after another's commit."""
        return self.store.apply(self.model, before, before + 1, changes)

    def moved(self, commit: int) -> bool:
        """Whether somebody has committed after this commit."""
        return self.store.position(self.model) != commit

    def _all(self, prefix: str, limit: int = 0) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        after = ""
        while page := self.store.items(self.model, prefix, after=after, limit=PAGE):
            found += page
            after = page[-1][0]
            if len(page) < PAGE or (limit and len(found) >= limit):
                break
        return found

    # --- for people ----------------------------------------------------------------------

    @staticmethod
    def names(store: ReadModelStore) -> list[str]:
        """The pipelines in a store."""
        found: list[str] = []
        after = ""
        while page := store.items(INDEX, after=after, limit=PAGE):
            found += [key for key, _ in page]
            after = page[-1][0]
        return found

    def exists(self) -> bool:
        """Whether the store has this pipeline."""
        return self.store.get_many(INDEX, [self.name]) != [None]

    def letters(self, after: int = 0, limit: int = PAGE) -> list[tuple[int, DeadRow]]:
        """Dead letters with numbers above `after`, the oldest first."""
        rows = self.store.items(self.model, "letter/", after=letter_key(after), limit=max(1, limit))
        return [(int(key[7:]), _letter(int(key[7:]), value)) for key, value in rows]

    def _check(self, numbers: Sequence[int]) -> list[bytes]:
        """The stored letters of these numbers, also damaged ones."""
        rows = self.store.get_many(self.model, [letter_key(number) for number in numbers])
        found = [row for row in rows if row is not None]
        if len(found) < len(rows):
            missing = numbers[rows.index(None)]
            raise UsageError(
                f"the pipeline {self.name!r} has no dead letter {missing}.",
                advice="`callboard letters list` lists those it has.",
            )
        return found

    def letters_of(self, numbers: Sequence[int]) -> list[tuple[int, DeadRow]]:
        """The letters of these numbers. Raises `UsageError` for one that does not exist."""
        rows = self._check(numbers)
        return [(number, _letter(number, row)) for number, row in zip(numbers, rows, strict=True)]

    def replay(self, numbers: Sequence[int]) -> None:
        """Let the pipeline take these letters again, now or when it runs next."""
        self.letters_of(numbers)
        self._change(lambda _: {replay_key(number): b"" for number in numbers})

    def discard(self, numbers: Sequence[int]) -> None:
        """Delete these letters, and count them as discarded."""
        chosen = sorted(set(numbers))

        def changes(stored: StoredPipeline) -> Changes:
            # Again for each attempt: the pipeline may have replayed one meanwhile.
            self._check(chosen)
            account = stored.account
            assert account is not None, "letters were committed with an account"
            account.letters_pending -= len(chosen)
            account.letters_discarded += len(chosen)
            gone: Changes = {letter_key(number): None for number in chosen}
            gone |= {replay_key(number): None for number in chosen}
            return gone | {"account": account.encode()}

        self._change(changes)

    def resume(self) -> bool:
        """Let a stopped pipeline go on. False if it was not stopped."""
        stored = self.load()
        if stored.status.state is not PipelineState.STOPPED:
            return False

        def changes(now: StoredPipeline) -> Changes:
            status = replace(now.status, state=PipelineState.RUNNING, reason="")
            account = now.account
            if account is None:
                return {"status": status.encode()}
            # The share counts from here on, or the same letters would stop it again.
            account.recent_rows = account.recent_letters = 0
            return {"status": status.encode(), "account": account.encode()}

        self._change(changes)
        return True

    def _change(self, changes_of: "Callable[[StoredPipeline], Changes]") -> None:
        for _ in range(ATTEMPTS_MAX):
            stored = self.load()
            if self.commit(stored.commit, changes_of(stored)):
                return
        raise StoreUnavailable(
            f"the pipeline {self.name!r} committed {ATTEMPTS_MAX} times meanwhile.",
            advice="Try again.",
            may_have_run=False,
        )


def letter_key(number: int) -> str:
    """The key of a dead letter; keys sort as numbers do."""
    return f"letter/{number:0{DIGITS}}"


def out_key(number: int) -> str:
    """The key of an outgoing batch."""
    return f"out/{number:0{DIGITS}}"


def replay_key(number: int) -> str:
    """The key of a command to replay a letter."""
    return f"replay/{number:0{DIGITS}}"


def _letter(number: int, data: bytes) -> DeadRow:
    try:
        return DeadRow.decode(data)
    except StoreDamaged as error:
        raise StoreDamaged(f"dead letter {number}: {error.message}", advice=error.advice) from error


def _state(key: str, value: bytes) -> StageState:
    try:
        form, state, rows = msgpack.unpackb(value, use_list=False, strict_map_key=False)
        assert form == FORMAT, f"its format is {form!r}"
        return StageState(state, int(rows))
    except (AssertionError, ValueError, TypeError, msgpack.UnpackException) as error:
        raise _damaged(key, error) from error


def _damaged(what: str, error: Exception) -> StoreDamaged:
    return StoreDamaged(
        f"the {what} of a pipeline does not decode: {error!r}.",
        advice="Restore the store from a backup, or drop the pipeline from it.",
    )
