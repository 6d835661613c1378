"""Whether, how often and when a failed sub-task is tried again, as data.

One table (`RETRYABILITY`) says for every error code what a failure means; a `RetryPolicy`
says how many attempts and how much patience a sub-task has. Neither knows a clock or a
random number: the caller passes them in.
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
    """What a failed attempt means for its sub-task."""

    NEVER = auto()
    """Another attempt would fail the same way, or must not run."""
    ATTEMPT = auto()
    """Another attempt may succeed; this one counts against `attempts_max`."""
    HOST_LOSS = auto()
    """Not the sub-task's fault: it runs again, and counts against `host_losses_max`."""


RETRYABILITY: Final[Mapping[str, Retryability]] = MappingProxyType(
    {
        "callboard": Retryability.ATTEMPT,  # an unknown kind of error: give it the benefit
        # The author of a message or a program must act; no repetition helps.
        "contract": Retryability.NEVER,
        "spec": Retryability.NEVER,
        "plan": Retryability.NEVER,
        "usage": Retryability.NEVER,
        "name_taken": Retryability.NEVER,
        "output": Retryability.NEVER,
        "request_rejected": Retryability.NEVER,
        "result_rejected": Retryability.NEVER,
        "internal": Retryability.NEVER,
        # Whoever cancelled meant it.
        "cancelled": Retryability.NEVER,
        # The part that failed has spent retries of its own.
        "execution_failed": Retryability.NEVER,
        # Only reported after a grace period in which an agent could have appeared.
        "no_agent_offers": Retryability.NEVER,
        # May be different the next time.
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
"""What each error code means for a retry; a code that is not listed follows its base class."""

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
"""Built-in exceptions of a handler that say its code is wrong: never retried.

`ValueError`, `KeyError` and `IndexError` are missing on purpose: they also come from what
the outside world answered, and that may be better the next time.
"""


def retryability_of(error: CallboardError) -> Retryability:
    """What `error` means for a retry, by its code, or the code of its nearest base class."""
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
    """How often, and how long after a failure, a sub-task is tried again.

    `attempts_max` counts attempts that failed by themselves. An attempt that was lost with
    its host counts against `host_losses_max` instead and is repeated at once. `retry_on`
    narrows what is retried to these error codes or exception names; it cannot widen it.

    Raises:
        SpecError: a value is out of its range.
    """

    attempts_max: int = 3
    backoff_min_s: float = 0.5
    factor: float = 2.0
    backoff_max_s: float = 30.0
    jitter: float = 0.2
    host_losses_max: int = 10
    retry_on: frozenset[str] | None = None

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
                    f"backoff {self.backoff_min_s} to {self.backoff_max_s} s is no range from 0 on",
                ),
                (not 1 <= self.factor < math.inf, f"factor is {self.factor}, not at least 1"),
            )
            if wrong
        ]
        if problems:
            raise SpecError("A retry policy is wrong: " + "; ".join(problems) + ".")

    def retries(self, error: CallboardError) -> Retryability:
        """What `error` means under this policy, budgets aside."""
        found = retryability_of(error)
        if found is not Retryability.ATTEMPT or self.retry_on is None:
            return found
        names = {error.code}
        if isinstance(error, HandlerFailed):
            names |= {error.remote_type, error.remote_type.rpartition(".")[2]}
        return found if names & self.retry_on else Retryability.NEVER

    def backoff_s(self, failures: int, random: float) -> float:
        """The wait after the failure number `failures` (from 1), `random` being in [0, 1)."""
        # Beyond 64 doublings any sensible maximum is reached; the cap avoids an overflow.
        exponent = min(failures - 1, 64)
        raw = self.backoff_min_s * min(self.factor, 1e4) ** exponent
        return min(raw, self.backoff_max_s) * (1 + self.jitter * (2 * random - 1))


RETRY_DEFAULT: Final = RetryPolicy()
