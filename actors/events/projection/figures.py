"""What a projector may use, and how it stands."""

import enum
from dataclasses import dataclass

__all__ = ["ProjectorLimits", "ProjectorState", "ProjectorStatistics"]


@dataclass(frozen=True, slots=True)
class ProjectorLimits:
    """How many, and for how long."""

    page_events: int = 8_000
    """Events of one transaction, at most."""
    rows_cached: int = 100_000
    """Rows that stay in memory between pages; a page may need more."""
    read_timeout_s: float = 30.0
    """A read of the log that takes longer counts as a failure of the store."""
    idle_s: float = 1.0
    """How long it waits for a commit until it looks at the head by itself."""
    model_check_s: float = 1.0
    """How often it looks whether the projection's name means another model meanwhile."""


class ProjectorState(enum.Enum):
    """What a projector is doing."""

    CATCHING_UP = "catching up"
    LIVE = "live"
    """It has had every event; new ones come as they are committed."""
    RETRYING = "retrying"
    """An event could not be folded; it is tried again after a while."""
    WAITING_FOR_STORE = "waiting for the store"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ProjectorStatistics:
    """A projector now; the counts are since it was made."""

    name: str
    model: str
    state: ProjectorState
    position: int
    head: int
    lag_positions: int
    """How many positions the model is behind the log's head."""
    lag_s: float
    """For how long the oldest event that is not in the model has been in the log, about."""
    events: int
    pages: int
    """Transactions."""
    overtaken: int
    """Pages that somebody else had applied first."""
    failures: int
    """Events that could not be folded, each try counted."""
    store_failures: int
    skipped: int
    """Unknown events that the codec left out, each reading counted."""
