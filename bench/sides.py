"""What a bench is: a question, and the sides that answer it, with their sizes and needs."""

import importlib.metadata
import importlib.util
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from bench.outcome import Params
from bench.savina.games import SEPARATOR

__all__ = ["Bench", "Requirement", "Side", "missing", "versions"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """A Python module or a program that a side needs."""

    kind: Literal["module", "program"]
    name: str
    advice: str
    distribution: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One implementation of a bench: `python -m MODULE FIGURE --params JSON`."""

    name: str
    module: str
    full: Params
    smoke: Params
    requires: tuple[Requirement, ...] = field(default=())
    always: bool = False
    cannot: Mapping[str, str] = field(default_factory=dict)
    """The parts of a suite that this side leaves out, with the reason."""

    def params(self, *, smoke: bool) -> Params:
        """The sizes of this side."""
        return self.smoke if smoke else self.full

    def on_cluster(self, address: str) -> "Side":
        """This side on a cluster that exists, none of whose nodes is lost."""
        changed = {"address": address, "losses": 0, "root_losses": 0}
        return replace(self, full={**self.full, **changed}, smoke={**self.smoke, **changed})

    def only(self, parts: Sequence[str]) -> "Side":
        """This side with the sizes of only these parts of a suite."""
        return replace(
            self,
            full=_only(self.full, parts),
            smoke=_only(self.smoke, parts),
            cannot={part: why for part, why in self.cannot.items() if part in parts},
        )


def _only(params: Params, parts: Sequence[str]) -> Params:
    return {name: size for name, size in params.items() if name.partition(SEPARATOR)[0] in parts}


@dataclass(frozen=True, slots=True)
class Bench:
    """One question, our side, the peers, and the check that every side must reach."""

    name: str
    question: str
    ours: Side
    peers: tuple[Side, ...]
    expected_check: Callable[[Params], str]
    timeout_s: float = 180.0
    stores: tuple[str, ...] = ()
    """The stores for our side, chosen by `--store`. The first is the default."""
    parts: tuple[str, ...] = ()
    """The benchmarks of a suite. The names of their sizes begin with their names."""
    needs_nodes: bool = False
    """Whether every side runs on a cluster of several nodes, its own or one that `--address`
    names."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What all sides find in their environment."""

    def on_cluster(self, address: str) -> "Bench":
        """This bench on a cluster that exists: its nodes stay, and its settings count."""
        return replace(
            self,
            ours=self.ours.on_cluster(address),
            peers=tuple(peer.on_cluster(address) for peer in self.peers),
            environment={},
        )

    def on_store(self, store: str) -> "Bench":
        """This bench with our side on that store. The peers keep theirs."""
        chosen = {"store": store}
        ours = replace(
            self.ours, full={**self.ours.full, **chosen}, smoke={**self.ours.smoke, **chosen}
        )
        return replace(self, ours=ours)

    def only(self, parts: Sequence[str]) -> "Bench":
        """This suite with only these parts. A peer that supports none of them is left out."""
        peers = [peer.only(parts) for peer in self.peers]
        return replace(
            self,
            ours=self.ours.only(parts),
            peers=tuple(peer for peer in peers if peer.full),
            parts=tuple(part for part in self.parts if part in parts),
        )


def missing(requirements: tuple[Requirement, ...]) -> str | None:
    """Why a side with these requirements cannot run here; None if it can."""
    for requirement in requirements:
        match requirement.kind:
            case "module":
                found = importlib.util.find_spec(requirement.name) is not None
            case "program":
                found = shutil.which(requirement.name) is not None
            case _:
                assert_never(requirement.kind)
        if not found:
            return f"no {requirement.kind} {requirement.name!r} here: {requirement.advice}"
    return None


def versions(requirements: tuple[Requirement, ...]) -> dict[str, str]:
    """The installed version of each required distribution."""
    return {
        requirement.distribution: importlib.metadata.version(requirement.distribution)
        for requirement in requirements
        if requirement.distribution
    }
