"""Where an actor runs: on any host, on a certain host, or on a host of its own.

A host is a process that many actors share. Isolate an actor that is CPU-bound, crash-prone
or needs a GPU: it gets a host of its own. Ray places this host by the requested resources
and node labels, and the host ends with the actor.

Invariant: values that Ray would refuse, or wait for silently and for ever, raise
`SpecError` here, which names the field.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Self, final

from ..core.errors import SpecError

__all__ = ["ANYWHERE", "Placement", "Resources"]

HOST_NUMBER_MAX: Final = 1_000_000
RESERVED: Final = frozenset({"CPU", "GPU", "memory", "object_store_memory"})
"""Ray's names of resources that have their own fields here."""


def _refuse(name: str, problem: str, advice: str) -> NoReturn:
    raise SpecError(f"{name} {problem}.", advice=advice, field=name)


def _check_amount(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        _refuse(name, f"is {value!r}", "It must be a finite number of at least 0.")
    # Ray takes fractions below 1 (processes share the device), and whole numbers from 1 on.
    if value > 1 and value != int(value):
        _refuse(name, f"is {value!r}", "Above 1 it must be a whole number.")


@final
@dataclass(frozen=True, slots=True)
class Resources:
    """The resources that an isolated host reserves on its node, in Ray's terms.

    Ray only counts: a process may use more CPU or memory than it reserved. GPUs are
    visible only to the process that reserved them. Raises `SpecError` for a wrong value.
    """

    cpus: float = 1.0
    """Processors; fractions are possible."""
    gpus: float = 0.0
    """Graphics processors; fractions are possible."""
    memory_bytes: int = 0
    """Memory, in bytes; 0 reserves none."""
    custom: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Custom resources of the cluster's nodes, such as `{"tpu": 1}`."""
    node_labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Labels that the node must have; a value may be Ray's `in(a,b)`, `!a` or `!in(a,b)`."""

    def __post_init__(self) -> None:
        _check_amount("Resources.cpus", self.cpus)
        _check_amount("Resources.gpus", self.gpus)
        if type(self.memory_bytes) is not int or self.memory_bytes < 0:
            _refuse(
                "Resources.memory_bytes",
                f"is {self.memory_bytes!r}",
                "Give a whole number of bytes, at least 0.",
            )
        for name, amount in self.custom.items():
            if not isinstance(name, str) or not name or name in RESERVED:
                _refuse(
                    "Resources.custom",
                    f"names {name!r}",
                    "Give names of custom resources; CPU, GPU and memory have their own fields.",
                )
            _check_amount(f"Resources.custom[{name!r}]", amount)
        for name, value in self.node_labels.items():
            if not (isinstance(name, str) and name and isinstance(value, str)):
                _refuse(
                    "Resources.node_labels",
                    f"has {name!r}: {value!r}",
                    "Give texts as names and as values.",
                )

    def to_data(self) -> dict[str, Any]:
        """These resources as plain data that any codec can encode."""
        return {
            "cpus": self.cpus,
            "gpus": self.gpus,
            "memory_bytes": self.memory_bytes,
            "custom": dict(self.custom),
            "node_labels": dict(self.node_labels),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The resources that `data` describes. Raises `SpecError`."""
        return cls(**data)


@final
@dataclass(frozen=True, slots=True)
class Placement:
    """Where to run: `Placement()` anywhere, `Placement(host=2)`, `Placement(isolated=...)`.

    Raises `SpecError` for a wrong value, and for `host` together with `isolated`.
    """

    host: int | str | None = None
    """A host by its number, from 1, or by its name; None for the least loaded host."""
    isolated: Resources | None = None
    """The resources of a host of its own; None to share a host."""

    def __post_init__(self) -> None:
        if self.host is not None:
            is_number = type(self.host) is int and 1 <= self.host <= HOST_NUMBER_MAX
            if not is_number and not (isinstance(self.host, str) and self.host):
                _refuse("Placement.host", f"is {self.host!r}", "Give a name, or a number from 1.")
            if self.isolated is not None:
                _refuse("Placement.host", "is set together with isolated", "Set one of the two.")
        if self.isolated is not None and not isinstance(self.isolated, Resources):
            _refuse("Placement.isolated", f"is {self.isolated!r}", "Give a Resources.")

    def to_data(self) -> dict[str, Any]:
        """This placement as plain data that any codec can encode."""
        isolated = None if self.isolated is None else self.isolated.to_data()
        return {"host": self.host, "isolated": isolated}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The placement that `data` describes. Raises `SpecError`."""
        isolated = data.get("isolated")
        return cls(data.get("host"), None if isolated is None else Resources.from_data(isolated))


ANYWHERE: Final = Placement()
"""The least loaded host."""
