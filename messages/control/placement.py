"""Where something is to run: on any host, a certain one, or a host of its own.

A host is a process that many actors share. What is CPU-bound, crash-prone, or needs a
GPU is isolated: it gets a host of its own, which Ray places by the resources and node
labels asked for, and which ends with it.

Invariant: what Ray would refuse, or wait for without end and without a word, as far as it
can be known from the values alone, is refused here with `SpecError`, naming the field.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Self, final

from ..core.errors import SpecError

__all__ = ["ANYWHERE", "Placement", "Resources"]

HOST_NUMBER_MAX: Final = 1_000_000
RESERVED: Final = frozenset({"CPU", "GPU", "memory", "object_store_memory"})
"""Ray's names of what has fields of its own here."""


def _refuse(name: str, problem: str, advice: str) -> NoReturn:
    raise SpecError(f"{name} {problem}.", advice=advice, field=name)


def _check_amount(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        _refuse(name, f"is {value!r}", "It must be a finite number of at least 0.")
    # Ray takes fractions below one (processes share the device), and whole ones from there.
    if value > 1 and value != int(value):
        _refuse(name, f"is {value!r}", "From 1 on it must be a whole number.")


@final
@dataclass(frozen=True, slots=True)
class Resources:
    """What an isolated host reserves on its node, in Ray's own terms.

    Ray only counts: nothing keeps a process from using more CPU or memory than it
    reserved; GPUs are made visible to the process that reserved them.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int = 0
    custom: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Resources that the cluster's nodes declare, such as `{"tpu": 1}`."""
    node_labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Labels the node must have; a value may be Ray's `in(a,b)`, `!a` or `!in(a,b)`."""

    def __post_init__(self) -> None:
        _check_amount("Resources.cpus", self.cpus)
        _check_amount("Resources.gpus", self.gpus)
        if type(self.memory_bytes) is not int or self.memory_bytes < 0:
            _refuse("Resources.memory_bytes", f"is {self.memory_bytes!r}", "Give whole bytes.")
        for name, amount in self.custom.items():
            if not isinstance(name, str) or not name or name in RESERVED:
                _refuse("Resources.custom", f"names {name!r}", "CPU, GPU, memory have own fields.")
            _check_amount(f"Resources.custom[{name!r}]", amount)
        for name, value in self.node_labels.items():
            if not (isinstance(name, str) and name and isinstance(value, str)):
                _refuse("Resources.node_labels", f"has {name!r}: {value!r}", "Both are texts.")

    def to_data(self) -> dict[str, Any]:
        """These resources as plain data that any codec can carry."""
        return {
            "cpus": self.cpus,
            "gpus": self.gpus,
            "memory_bytes": self.memory_bytes,
            "custom": dict(self.custom),
            "node_labels": dict(self.node_labels),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The resources that `data` describes. Raises SpecError."""
        return cls(**data)


@final
@dataclass(frozen=True, slots=True)
class Placement:
    """Where to run: `Placement()` anywhere, `Placement(host=2)`, `Placement(isolated=...)`."""

    host: int | str | None = None
    """A host by its number, from 1, or by its name; None: the least loaded."""
    isolated: Resources | None = None
    """A host of its own, with these resources."""

    def __post_init__(self) -> None:
        if self.host is not None:
            is_number = type(self.host) is int and 1 <= self.host <= HOST_NUMBER_MAX
            if not is_number and not (isinstance(self.host, str) and self.host):
                _refuse("Placement.host", f"is {self.host!r}", "Give a name, or a number from 1.")
            if self.isolated is not None:
                _refuse("Placement.host", "is set beside isolated", "A host of its own has none.")
        if self.isolated is not None and not isinstance(self.isolated, Resources):
            _refuse("Placement.isolated", f"is {self.isolated!r}", "Give Resources.")

    def to_data(self) -> dict[str, Any]:
        """This placement as plain data that any codec can carry."""
        isolated = None if self.isolated is None else self.isolated.to_data()
        return {"host": self.host, "isolated": isolated}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The placement that `data` describes. Raises SpecError."""
        isolated = data.get("isolated")
        return cls(data.get("host"), None if isolated is None else Resources.from_data(isolated))


ANYWHERE: Final = Placement()
"""The least loaded host."""
