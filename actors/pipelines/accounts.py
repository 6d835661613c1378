"""Accounts: where every row of every stage has gone.

Each row that enters a stage has one fate: it is passed on, dropped for a reason, made a dead
letter, or kept in the state of the stage (buffered). So at every commit

    in = passed + dropped{reason} + dead-lettered + buffered

holds for each stage, in rows of its input. A stage that keeps rows as they are has
`out = passed`: this is the sum that users read. A stage that makes one row of many or many of one
states what it made as `out`; the rows that it made them of are passed. The rows that leave one
stage are those that enter the next: `out` of a stage is `in` of the next one. What enters the
first stage is what the source gave and what was replayed, and what leaves the last one is what
the sink gets.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgpack

from callboard.messages.storage.errors import StoreDamaged

__all__ = ["PipelineAccount", "StageAccount", "StageFlow"]

FORMAT: Final = 1
REASONS_MAX: Final = 64
"""The reasons of one stage that are counted by their names."""
REASON_CHARACTERS_MAX: Final = 200
OTHER: Final = "other"
DECAY: Final = 10
"""The share of dead letters counts over at most this many times `letters_share_rows`."""


class StageFlow:
    """What one batch did to one stage."""

    __slots__ = (
        "buffered",
        "dropped",
        "failures",
        "letters",
        "nanoseconds",
        "passed",
        "rows_in",
        "rows_out",
    )

    def __init__(
        self,
        rows_in: int,
        passed: int,
        rows_out: int,
        nanoseconds: int,
        letters: int = 0,
        buffered: int = 0,
        failures: int = 0,
        dropped: Mapping[str, int] | None = None,
    ) -> None:
        self.rows_in = rows_in
        self.passed = passed
        self.rows_out = rows_out
        self.nanoseconds = nanoseconds
        self.letters = letters
        self.buffered = buffered
        """The change of the rows in the stage's state."""
        self.failures = failures
        self.dropped = dropped


class StageAccount:
    """The sums of one stage, since its pipeline began."""

    __slots__ = (
        "batches",
        "buffered",
        "dropped",
        "failures",
        "letters",
        "nanoseconds",
        "passed",
        "rows_in",
        "rows_out",
    )

    def __init__(self) -> None:
        self.batches = 0
        self.rows_in = 0
        self.passed = 0
        self.rows_out = 0
        self.letters = 0
        self.buffered = 0
        self.failures = 0
        """Failures of the stage itself, each attempt counted."""
        self.nanoseconds = 0
        self.dropped: dict[str, int] = {}

    def add(self, flow: StageFlow) -> None:
        """Add what one batch did."""
        self.batches += 1
        self.rows_in += flow.rows_in
        self.passed += flow.passed
        self.rows_out += flow.rows_out
        self.nanoseconds += flow.nanoseconds
        if flow.letters or flow.failures or flow.buffered:
            self.letters += flow.letters
            self.buffered += flow.buffered
            self.failures += flow.failures
        if flow.dropped:
            for reason, rows in flow.dropped.items():
                name = reason if reason in self.dropped else self._new(reason)
                self.dropped[name] = self.dropped.get(name, 0) + rows

    def _new(self, reason: str) -> str:
        """A reason that was not counted before, as it can be stored."""
        if len(self.dropped) >= REASONS_MAX:
            return OTHER
        text = str(reason)[:REASON_CHARACTERS_MAX]
        return text.encode("utf-8", "backslashreplace").decode() or OTHER

    def is_balanced(self) -> bool:
        """Whether every row has exactly one fate."""
        fates = self.passed + sum(self.dropped.values()) + self.letters + self.buffered
        return self.rows_in == fates and min(self.passed, self.buffered, self.letters) >= 0

    def to_data(self) -> dict[str, Any]:
        """The account for machines."""
        return {
            "batches": self.batches,
            "rows_in": self.rows_in,
            "passed": self.passed,
            "rows_out": self.rows_out,
            "dropped": dict(self.dropped),
            "letters": self.letters,
            "buffered": self.buffered,
            "failures": self.failures,
            "seconds": self.nanoseconds / 1e9,
        }

    def packed(self) -> tuple[Any, ...]:
        """The account for a store."""
        return (
            self.batches, self.rows_in, self.passed, self.rows_out, self.letters, self.buffered,
            self.failures, self.nanoseconds, self.dropped,
        )  # fmt: skip

    @classmethod
    def of(cls, row: Sequence[Any]) -> "StageAccount":
        """The account in `packed`."""
        account = cls()
        (
            account.batches, account.rows_in, account.passed, account.rows_out, account.letters,
            account.buffered, account.failures, account.nanoseconds, account.dropped,
        ) = row  # fmt: skip
        return account


class PipelineAccount:
    """The sums of a pipeline: of its source, its dead letters, each stage, and its sink."""

    def __init__(self, stages: Sequence[str]) -> None:
        self.stages: Final = {name: StageAccount() for name in stages}
        self.read = 0
        """Rows from the source."""
        self.replayed = 0
        """Rows from dead letters."""
        self.delivered = 0
        """Rows that the sink has."""
        self.outgoing = 0
        """Rows that wait for a sink outside the store: durable, and delivered exactly once."""
        self.letters_pending = 0
        """Dead letters that nobody has replayed or discarded."""
        self.letters_discarded = 0
        self.letters_before = 0
        """Dead letters that earlier stages of this pipeline made, before its stages changed."""
        self.outgoing_before = 0
        """The same for rows that were on their way."""
        self.recent_rows = 0
        self.recent_letters = 0

    def deliver(self, rows: int) -> None:
        """The sink has these rows, which left the last stage."""
        self.outgoing -= rows
        self.delivered += rows

    def with_stages(self, stages: Sequence[str]) -> "PipelineAccount":
        """A new account for changed stages; what waits of the old one stays."""
        account = PipelineAccount(stages)
        account.letters_pending = account.letters_before = self.letters_pending
        account.outgoing = account.outgoing_before = self.outgoing
        return account

    def count_recent(self, rows: int, letters: int, rows_min: int) -> None:
        """Count the share of dead letters; old rows count less and less."""
        self.recent_rows += rows
        self.recent_letters += letters
        while self.recent_rows > DECAY * rows_min:
            self.recent_rows //= 2
            self.recent_letters //= 2

    def problems(self) -> Iterator[str]:
        """What does not add up; nothing in a right account."""
        entered = self.read + self.replayed
        for name, stage in self.stages.items():
            if not stage.is_balanced():
                yield f"stage {name!r}: in is not passed + dropped + letters + buffered: " + str(
                    stage.to_data()
                )
            if stage.rows_in != entered:
                yield f"stage {name!r}: {stage.rows_in} rows in, of {entered} that were given to it"
            entered = stage.rows_out
        if entered + self.outgoing_before != self.delivered + self.outgoing:
            yield (
                f"the sink: {entered} rows (and {self.outgoing_before} before) left the last "
                f"stage, {self.delivered} are delivered "
                f"and {self.outgoing} wait"
            )
        letters = self.letters_before + sum(stage.letters for stage in self.stages.values())
        if letters != self.letters_pending + self.letters_discarded + self.replayed:
            yield (
                f"dead letters: {letters} were made; {self.letters_pending} are pending, "
                f"{self.letters_discarded} discarded, {self.replayed} replayed"
            )

    def to_data(self) -> dict[str, Any]:
        """The account for machines."""
        return {
            "read": self.read,
            "replayed": self.replayed,
            "delivered": self.delivered,
            "outgoing": self.outgoing,
            "letters_pending": self.letters_pending,
            "letters_discarded": self.letters_discarded,
            "stages": {name: stage.to_data() for name, stage in self.stages.items()},
        }

    def encode(self) -> bytes:
        """The account for a store."""
        packed: bytes = msgpack.packb(
            (
                FORMAT,
                (
                    self.read, self.replayed, self.delivered, self.outgoing,
                    self.letters_pending, self.letters_discarded,
                    self.letters_before, self.outgoing_before,
                    self.recent_rows, self.recent_letters,
                ),
                {name: stage.packed() for name, stage in self.stages.items()},
            )
        )  # fmt: skip
        return packed

    @classmethod
    def decode(cls, data: bytes) -> "PipelineAccount":
        """The account in these bytes. Raises `StoreDamaged`."""
        try:
            form, sums, stages = msgpack.unpackb(data)
            assert form == FORMAT, f"its format is {form!r}"
            account = cls(())
            account.stages.update((name, StageAccount.of(row)) for name, row in stages.items())
            (
                account.read, account.replayed, account.delivered, account.outgoing,
                account.letters_pending, account.letters_discarded,
                account.letters_before, account.outgoing_before,
                account.recent_rows, account.recent_letters,
            ) = sums  # fmt: skip
        except (
            AssertionError,
            ValueError,
            TypeError,
            AttributeError,
            msgpack.UnpackException,
        ) as error:
            raise StoreDamaged(
                f"the account of a pipeline does not decode: {error!r}.",
                advice="Restore the store from a backup, or drop the pipeline from it.",
            ) from error
        return account
