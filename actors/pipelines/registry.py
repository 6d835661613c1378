"""Stage types: what a stage of a type does to a batch, and the registry of all types.

A type makes a processor from the settings of a stage. A processor is a function from batch to
batch that uses nothing from outside. It names each row that it removes: dropped with a reason, or
refused, so that the error policy of the stage decides.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import shown

from .batch import DataBatch
from .spec import PipelineStage, Schema

__all__ = ["Processor", "StageEffects", "StageRegistry", "StageSettings", "StageType"]

ValueT = TypeVar("ValueT")
TYPES_MAX: Final = 1_000


class StageEffects:
    """What a processor says about the rows that it does not pass on."""

    __slots__ = ("buffered", "dropped", "refused", "state")

    def __init__(self, state: Any = None, buffered: int = 0) -> None:
        self.dropped: dict[str, int] | None = None
        self.refused: list[tuple[int, tuple[str, ...]]] | None = None
        self.state: Any = state
        """The state of the stage: plain values. Set it to new values, never change it."""
        self.buffered = buffered
        """The rows in the state."""

    def drop(self, reason: str, rows: int = 1) -> None:
        """Rows were left out on purpose."""
        if rows:
            if self.dropped is None:
                self.dropped = {}
            self.dropped[reason] = self.dropped.get(reason, 0) + rows

    def refuse(self, row: int, *reasons: str) -> None:
        """A row of the batch is wrong and was left out: the error policy decides."""
        if self.refused is None:
            self.refused = []
        self.refused.append((row, reasons))


class Processor(Protocol):
    """One stage at work."""

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        """The rows that go on. What it raises is a failure of the stage."""


class Flushes(Protocol):
    """A processor with a state."""

    def flush(self, state: Any) -> DataBatch:
        """The rows that come of the state when the source has ended."""


@dataclass(frozen=True, slots=True)
class StageType:
    """A type of stages."""

    name: str
    """Its name, as stages give it."""
    make: "Callable[[PipelineStage, StageSettings], Processor]"
    """Makes the processor of a stage; reports problems to the settings."""
    may_add_rows: bool = False
    """Whether it makes other rows, perhaps more than it got. Otherwise more rows are an error."""
    keeps_state: bool = False
    """Whether it keeps rows between batches; its processor has `flush`."""
    promises: Callable[[PipelineStage, Schema], Schema] | None = None
    """The schema of its output from that of its input. None: nothing is known of the output."""


class StageRegistry:
    """Stage types by name."""

    def __init__(self, types: "tuple[StageType, ...]" = ()) -> None:
        self._types: dict[str, StageType] = {}
        for each in types:
            self.add(each)

    def add(self, stage_type: StageType) -> None:
        """Register a type. Raises `UsageError` when its name is taken."""
        name = stage_type.name
        if name in self._types or len(self._types) >= TYPES_MAX:
            raise UsageError(
                f"the stage type {name!r} is registered already, or there are too many types.",
                advice="Choose another name, or make a registry of its own.",
            )
        self._types[name] = stage_type

    def find(self, name: str) -> StageType | None:
        """The type of this name."""
        return self._types.get(name)

    def names(self) -> tuple[str, ...]:
        """The names of all types, sorted."""
        return tuple(sorted(self._types))


class StageSettings:
    """Reads the configuration of one stage, and collects every problem in it."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._known: set[str] = set()
        self.problems: list[tuple[str, str]] = []
        """The path in the configuration, and what is wrong there."""

    def refuse(self, path: str, problem: str) -> None:
        """Report a problem."""
        self.problems.append((path, problem))

    def take(self, name: str, kind: type[ValueT], default: ValueT) -> ValueT:
        """The value of a setting, or the default when it is missing or of another type."""
        self._known.add(name)
        value = self._values.get(name, default)
        if kind is float and type(value) is int:
            value = float(value)
        # A bool is an int to Python, and never meant as one here.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.refuse(name, f"is {shown(value)}, and must be a {_NAMES[kind]}")
            return default
        return value

    def require(self, name: str, kind: type[ValueT], default: ValueT) -> ValueT:
        """The same, and the setting must exist."""
        if name not in self._values:
            self._known.add(name)
            self.refuse(name, "is missing")
            return default
        return self.take(name, kind, default)

    def texts(self, name: str) -> tuple[str, ...]:
        """A setting that is a list of texts; empty when it is missing."""
        self._known.add(name)
        values = self._values.get(name, ())
        if isinstance(values, str) or not isinstance(values, list | tuple):
            self.refuse(name, "must be a list of texts")
            return ()
        for place, value in enumerate(values):
            if not isinstance(value, str):
                self.refuse(f"{name}[{place}]", f"is {shown(value)}, and must be a text")
        return tuple(value for value in values if isinstance(value, str))

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """A setting that is one of a few texts."""
        found = self.take(name, str, default)
        if found not in choices:
            self.refuse(name, f"is {shown(found)}; choose one of {', '.join(choices)}")
            return default
        return found

    def any(self, name: str) -> Any:
        """A setting of any type; None when it is missing."""
        self._known.add(name)
        return self._values.get(name)

    def check_rest(self) -> Iterator[tuple[str, str]]:
        """All problems, with those of settings that nobody has asked for."""
        yield from self.problems
        for name in self._values:
            if name not in self._known:
                known = ", ".join(sorted(self._known)) or "none"
                yield str(name), f"is no setting of this type; it has: {known}"


_NAMES: Final[Mapping[type, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    dict: "mapping",
    list: "list",
}
