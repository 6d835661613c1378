"""The limits, the states and the figures of a projector."""

import enum
from dataclasses import dataclass

__all__ = ["ProjectorLimits", "ProjectorState", "ProjectorStatistics"]


@dataclass(frozen=True, slots=True)
class ProjectorLimits:
    """The limits of a projector; times in seconds."""

    page_events: int = 8_000
    """The most events in one transaction."""
    rows_cached: int = 100_000
    """Rows that stay in memory between pages; a page may need more."""
    read_timeout_s: float = 30.0
    """A longer read of the log counts as a failure of the store."""
    idle_s: float = 1.0
    """How long it waits for the notification of a commit before it reads the head itself."""
    model_check_s: float = 1.0
    """How often it checks whether the projection's name refers to another model."""


class ProjectorState(enum.Enum):
    """The state of a projector."""

    CATCHING_UP = "catching up"
    LIVE = "live"
    """It has processed every event; new ones come as they are committed."""
    RETRYING = "retrying"
    """An event could not be folded; it is retried after a back-off."""
    WAITING_FOR_STORE = "waiting for the store"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ProjectorStatistics:
    """The figures of a projector; counts are since it was made."""

    name: str
    """The name of the projection."""
    model: str
    """The name of its read model in the store."""
    state: ProjectorState
    """What it does now."""
    position: int
    """Every event up to this position is in the model."""
    head: int
    """The position of the log's last event, as far as is known."""
    lag_positions: int
    """How many positions the model is behind the log's head."""
    lag_s: float
    """The approximate age of the oldest event in the log that is not in the model, in seconds."""
    events: int
    """Events that were folded."""
    pages: int
    """Transactions."""
    overtaken: int
    """Pages that another projector had applied first."""
    failures: int
    """Attempts to fold an event that failed."""
    store_failures: int
    """Failures of the log or the store that were waited out."""
    skipped: int
    """Unknown events that the codec skipped, each read counted."""
