"""Where the commands that look at systems find them, and what they get from each.

A source is a way to ask one system, whatever carries the questions. One that does not answer
is told with the reason; it never hides the others.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from pydantic import ValidationError

from callboard.messages.contract import Request
from callboard.messages.errors import CallboardError

from ..announcer import announced_systems, ask_announced, process_of
from ..looking import Ask
from .outcome import ExitCode, Failure

__all__ = ["NOTHING_RUNS", "Sight", "Source", "announced_sources", "look"]

ReplyT = TypeVar("ReplyT")
SILENT_ADVICE: Final = "Its driver may be computing, or be stopped; look again."
NOTHING_RUNS: Final = Failure(
    ExitCode.FAILED,
    "nothing_runs",
    "no system of yours runs on this machine.",
    "Start one, for instance with `callboard run driver.py`, and look while it runs.",
)


@dataclass(frozen=True, slots=True)
class Source:
    """One system that can be asked."""

    pid: int
    """The process that answers; 0 for one on another machine."""
    ask: Ask


@dataclass(frozen=True, slots=True)
class Sight(Generic[ReplyT]):
    """One look at one system: what it answered, or why there is no answer."""

    pid: int
    view: ReplyT | None
    problem: str = ""


def announced_sources() -> list[Source]:
    """The systems of this user on this machine."""
    return [Source(process_of(path), ask_announced(path)) for path in announced_systems()]


async def look(sources: Sequence[Source], request: Request[ReplyT]) -> list[Sight[ReplyT]]:
    """Ask all of them at once; one that has just ended is left out."""
    seen = await asyncio.gather(*(_look_at(source, request) for source in sources))
    return [sight for sight in seen if sight is not None]


async def _look_at(source: Source, request: Request[ReplyT]) -> Sight[ReplyT] | None:
    try:
        return Sight(source.pid, await source.ask(request))
    except (FileNotFoundError, ConnectionRefusedError):
        return None  # It ended just now.
    except TimeoutError:
        return Sight(source.pid, None, f"does not answer. {SILENT_ADVICE}")
    except CallboardError as error:
        return Sight(source.pid, None, f"answers with an error: {error}")
    except ValidationError:
        return Sight(source.pid, None, "answers nonsense. Is it another release of Callboard?")
    except (OSError, ValueError) as error:
        return Sight(source.pid, None, f"cannot be asked: {error}")
