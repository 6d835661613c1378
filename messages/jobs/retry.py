"""Whether, how often and when a failed sub-task is retried, as data.

One table (`RETRYABILITY`) classifies every error code; a `RetryPolicy` limits the attempts
and sets the waits between them. Neither has a clock or random numbers: callers pass them in.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from ..core.errors import CallboardError, HandlerFailed, SpecError

__all__ = [
    "PROGRAMMING_ERRORS",
    "RETRYABILITY",
    "RETRY_DEFAULT",
    "RetryPolicy",
    "Retryability",
    "retryability_of",
]

ATTEMPTS_LIMIT: Final = 1_000
"""The most attempts, and the most host losses, that a retry policy may allow."""


class Retryability(Enum):
    """Whether a failed attempt is retried."""

    NEVER = auto()
    """Not retried: another attempt would fail the same way, or must not run."""
    ATTEMPT = auto()
    """Retried: another attempt may succeed. This one counts against `attempts_max`."""
    HOST_LOSS = auto()
    """Retried: the host failed, not the sub-task. Counts against `host_losses_max`."""


RETRYABILITY: Final[Mapping[str, Retryability]] = MappingProxyType(
    {
        "callboard": Retryability.ATTEMPT,  # an unknown error: it may pass
        # The author of a message or a program must act; no retry helps.
        "contract": Retryability.NEVER,
        "spec": Retryability.NEVER,
        "plan": Retryability.NEVER,
        "usage": Retryability.NEVER,
        "name_taken": Retryability.NEVER,
        "execution_id_taken": Retryability.NEVER,
        "output": Retryability.NEVER,
        "request_rejected": Retryability.NEVER,
        "result_rejected": Retryability.NEVER,
        "internal": Retryability.NEVER,
        # A cancellation is on purpose.
        "cancelled": Retryability.NEVER,
        # The failed execution has spent retries of its own.
        "execution_failed": Retryability.NEVER,
        # Reported only after a grace period in which an agent could have appeared.
        "no_agent_offers": Retryability.NEVER,
        # The next attempt may succeed.
        "ask": Retryability.ATTEMPT,
        "deadline_exceeded": Retryability.ATTEMPT,
        "actor_not_found": Retryability.ATTEMPT,
        "actor_stopped": Retryability.ATTEMPT,
        "actor_start_failed": Retryability.ATTEMPT,
        "mailbox_full": Retryability.ATTEMPT,
        "payload_lost": Retryability.ATTEMPT,
        "handler_failed": Retryability.ATTEMPT,  # but see PROGRAMMING_ERRORS
        "cluster": Retryability.ATTEMPT,
        "host_lost": Retryability.HOST_LOSS,
    }
)
"""Whether each error code is retried; a code that is not listed follows its base class."""

PROGRAMMING_ERRORS: Final = frozenset(
    {
        "AssertionError",
        "AttributeError",
        "ImportError",
        "IndentationError",
        "ModuleNotFoundError",
        "NameError",
        "NotImplementedError",
        "SyntaxError",
        "TypeError",
        "UnboundLocalError",
    }
)
"""Built-in exceptions of a handler that show an error in its code: never retried.

`ValueError`, `KeyError` and `IndexError` are missing on purpose: data from outside may cause
them, and may be better at the next attempt.
"""


def retryability_of(error: CallboardError) -> Retryability:
    """Whether `error` is retried, by its code or the code of its nearest base class."""
    if isinstance(error, HandlerFailed):
        module, _, name = error.remote_type.rpartition(".")
        if name in PROGRAMMING_ERRORS and module in ("", "builtins"):
            return Retryability.NEVER
    for cls in type(error).__mro__:
        found = RETRYABILITY.get(getattr(cls, "code", ""))
        if found is not None:
            return found
    return Retryability.ATTEMPT


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failed sub-task is retried, and after which waits (in seconds).

    `attempts_max` limits the attempts, the first included. An attempt that was lost with its
    host counts against `host_losses_max` instead, and is repeated at once. `retry_on` limits
    retries to these error codes or exception names; it cannot allow others.

    Raises:
        SpecError: a value is out of its range.
    """

    attempts_max: int = 3
    """The most attempts, the first included."""
    backoff_min_s: float = 0.5
    """The wait before the first retry."""
    factor: float = 2.0
    """By how much each wait is longer than the one before."""
    backoff_max_s: float = 30.0
    """The longest wait."""
    jitter: float = 0.2
    """The share of each wait that chance may take away, from 0 to 1."""
    host_losses_max: int = 10
    """How many attempts may be lost with their host."""
    retry_on: frozenset[str] | None = None
    """The codes or exception names that are retried; None for all that may be."""

    def __post_init__(self) -> None:
        problems = [
            text
            for wrong, text in (
                (
                    not 1 <= self.attempts_max <= ATTEMPTS_LIMIT,
                    f"attempts_max is {self.attempts_max}, not within 1 and {ATTEMPTS_LIMIT}",
                ),
                (
                    not 0 <= self.host_losses_max <= ATTEMPTS_LIMIT,
                    f"host_losses_max is {self.host_losses_max}, not within 0 and {ATTEMPTS_LIMIT}",
                ),
                (not 0 <= self.jitter <= 1, f"jitter is {self.jitter}, not within 0 and 1"),
                (
                    not 0 <= self.backoff_min_s <= self.backoff_max_s < math.inf,
                    f"backoff {self.backoff_min_s} to {self.backoff_max_s} s is no range from 0 up",
                ),
                (not 1 <= self.factor < math.inf, f"factor is {self.factor}, not at least 1"),
            )
            if wrong
        ]
        if problems:
            raise SpecError("A retry policy is wrong: " + "; ".join(problems) + ".")

    def retries(self, error: CallboardError) -> Retryability:
        """Whether `error` is retried under this policy, whatever attempts are left."""
        found = retryability_of(error)
        if found is not Retryability.ATTEMPT or self.retry_on is None:
            return found
        names = {error.code}
        if isinstance(error, HandlerFailed):
            names |= {error.remote_type, error.remote_type.rpartition(".")[2]}
        return found if names & self.retry_on else Retryability.NEVER

    def backoff_s(self, failures: int, random: float) -> float:
        """The wait in seconds after failure number `failures` (from 1); `random` is in [0, 1)."""
        # After 64 doublings every sensible maximum is reached; the cap avoids an overflow.
        exponent = min(failures - 1, 64)
        raw = self.backoff_min_s * min(self.factor, 1e4) ** exponent
        return min(raw, self.backoff_max_s) * (1 + self.jitter * (2 * random - 1))


RETRY_DEFAULT: Final = RetryPolicy()
