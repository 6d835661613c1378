"""The decision after a failed attempt: run the sub-task again, or fail it."""

from dataclasses import dataclass

from callboard.messages.core.errors import CallboardError
from callboard.messages.jobs.retry import Retryability, RetryPolicy

__all__ = ["GiveUp", "RetryAfter", "decide_retry"]


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Run it again after `delay_s`."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It has failed for good."""


def decide_retry(
    policy: RetryPolicy,
    error: CallboardError,
    *,
    failures: int,
    host_losses: int,
    random: float | None,
) -> RetryAfter | GiveUp:
    """Decide about a retry; the counts already include the failure or loss that `error` reports.

    `random` in [0, 1) draws the wait. Without it there is no wait: the executor is lost, so the
    next attempt runs elsewhere.
    """

    def wait_s(times: int) -> float:
        return 0.0 if random is None else policy.backoff_s(times, random)

    match policy.retries(error):
        case Retryability.NEVER:
            return GiveUp()
        case Retryability.HOST_LOSS:
            if host_losses > policy.host_losses_max:
                return GiveUp()
            return RetryAfter(wait_s(host_losses))
        case Retryability.ATTEMPT:
            if failures >= policy.attempts_max:
                return GiveUp()
            return RetryAfter(wait_s(failures))
