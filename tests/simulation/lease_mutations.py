"""Deliberate defects of leases."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from callboard.runtime.control_plane import leases
from callboard.runtime.control_plane.heartbeats import Heartbeats

from .mutation import Mutation

__all__ = ["LEASES"]


def _margin_forgotten(_right: Any) -> Any:
    def takeover_s(lease_s: float) -> float:
        return lease_s

    return takeover_s


def _word_believed(_right: Any) -> Any:
    async def until_ended(self: Any, ended: Any, process: Any) -> bool:
        ended.close()
        if process is not None:
            self.forget(process)
        return True

    return until_ended


LEASES: Final[Mapping[str, Mutation]] = MappingProxyType(
    {
        "margin_forgotten": Mutation(
            "a root does not wait longer than a lease, although clocks run wrong",
            leases, "takeover_s", _margin_forgotten, "leases",
        ),
        "word_believed": Mutation(
            "a root takes the cluster's word for the end of a process",
            Heartbeats, "until_ended", _word_believed, "leases",
        ),
    }
)  # fmt: skip
"""The defects by name."""
