"""What the steps of executions take in the agents of a host, by class of agent and contract.

`callboard_agent_seconds` is the time of the handler, and `callboard_agent_failures_total` counts
handlers that raised. Other messages are not measured: there are a million of them in a second.
"""

from collections.abc import Callable
from typing import Final

from callboard.messages.core.contract import Contract

from .meter import Counter, Histogram, Meter

__all__ = ["StepMeter"]


class StepMeter:
    """Measures the attempts of sub-tasks that run on one host."""

    def __init__(self, meter: Meter, now: Callable[[], float]) -> None:
        self._meter: Final = meter
        self.now: Final = now
        self._took: Final[dict[tuple[type, type], Histogram]] = {}
        self._failed: Final[dict[tuple[type, type], Counter]] = {}

    def took(self, agent: type, message: Contract, began_s: float) -> None:
        """An attempt that began at this time has ended, and has a result."""
        key = agent, type(message)
        found = self._took.get(key)
        if found is None:
            found = self._took[key] = self._meter.bind_histogram(
                "callboard_agent_seconds", agent=agent.__name__, step=type(message).contract_name
            )
        found.observe(self.now() - began_s)

    def failed(self, agent: type, message: Contract) -> None:
        """The handler of an attempt has raised."""
        key = agent, type(message)
        found = self._failed.get(key)
        if found is None:
            found = self._failed[key] = self._meter.bind_counter(
                "callboard_agent_failures_total",
                agent=agent.__name__,
                step=type(message).contract_name,
            )
        found.add()
