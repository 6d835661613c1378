"""Settings of one system: code first, checked once, a wrong one is refused by name."""

from dataclasses import dataclass, field
from typing import Any, Final

from callboard.messages.errors import SpecError
from callboard.messages.limits import DEFAULT_LIMITS, Limits
from callboard.messages.spec import Backoff, Intensity, SupervisorSpec

__all__ = ["ENGINES", "Settings"]

ENGINES: Final = ("ray", "inline")
HOSTS_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class Settings:
    """How a system is run. Times in seconds."""

    engine: str = "ray"
    hosts: int | None = None
    """Hosts that run actors; None: one for each CPU of the cluster."""
    understudies: int = 1
    """Warm, empty processes that take over when a host dies."""
    address: str | None = None
    """A running cluster (`host:port`); None starts Ray on this machine, embedded."""
    name: str = "callboard"
    dashboard: bool = False
    """Whether an embedded Ray starts its dashboard too; a cluster's is there anyway."""
    show_host_logs: bool = False
    """Whether what hosts print and log appears in the driver's terminal too."""
    ask_timeout_s: float = 30.0
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 5.0
    """How long actors may take to stop before their processes are ended."""
    blocked_s: float = 0.5
    """From when on a handler that keeps the event loop from running is reported."""
    heartbeat_s: float = 1.0
    heartbeats_missed_max: int = 5
    """A host that misses so many in a row counts as dead and is killed."""
    host_supervision: SupervisorSpec = field(
        default_factory=lambda: SupervisorSpec(
            intensity=Intensity(restarts=30, period_s=30.0), backoff=Backoff(max_s=5.0)
        )
    )
    """How lost hosts are replaced."""
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            _refuse("engine", self.engine, f"one of {', '.join(ENGINES)}")
        if self.hosts is not None and not 1 <= self.hosts <= HOSTS_MAX:
            _refuse("hosts", self.hosts, f"a number from 1 to {HOSTS_MAX}, or None")
        if not 0 <= self.understudies <= HOSTS_MAX:
            _refuse("understudies", self.understudies, f"a number from 0 to {HOSTS_MAX}")
        if self.engine == "inline" and self.address is not None:
            _refuse("address", self.address, "None for the inline engine: it has no cluster")
        for name in ("ask_timeout_s", "start_timeout_s", "stop_timeout_s", "heartbeat_s"):
            if not getattr(self, name) > 0:
                _refuse(name, getattr(self, name), "over 0")


def _refuse(name: str, value: Any, wanted: str) -> None:
    raise SpecError(f"setting {name} is {value!r}.", advice=f"It must be {wanted}.", field=name)
