"""Every error Callboard raises, named by who must act, with one picklable base.

An error is data first: `to_data` gives a plain mapping that crosses hosts inside a
frame, and `from_data` gives back an exception of the same class. Nothing that a
remote handler raises is ever unpickled; its traceback comes along as text.

Each error says what happened, where, and what to do about it (`advice`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self, final

__all__ = [
    "ActorNotFound",
    "ActorRestarted",
    "ActorStartFailed",
    "ActorStopped",
    "AskError",
    "CallboardError",
    "Cancelled",
    "ClusterError",
    "ClusterUnreachable",
    "ContractError",
    "DeadlineExceeded",
    "ExecutionFailed",
    "FrameError",
    "HandlerFailed",
    "HostLost",
    "InternalError",
    "InvalidMessage",
    "MailboxFull",
    "NameTaken",
    "NoAgentOffers",
    "OutputError",
    "PayloadLost",
    "PayloadTooLarge",
    "PlanError",
    "RequestRejected",
    "ResultRejected",
    "SpecError",
    "StashFull",
    "StateConflict",
    "StoreFailed",
    "UnknownContract",
    "UsageError",
    "VersionMismatch",
    "WrongReply",
    "error_from_data",
]

MESSAGE_CHARS_MAX: Final = 4_000
"""A longer message is cut: an error must never outweigh what failed."""

DETAILS_DEPTH_MAX: Final = 8
"""Details that nest deeper are told by their text."""


class CallboardError(Exception):
    """The base of every error that Callboard raises.

    `message` says what failed and where, `advice` what to do, and `details` holds
    plain values (str, int, float, bool, None, and lists or dicts of them).
    """

    code: ClassVar[str] = "callboard"

    def __init__(self, message: str, /, *, advice: str = "", **details: Any) -> None:
        super().__init__(message[:MESSAGE_CHARS_MAX])
        self.message: Final = message[:MESSAGE_CHARS_MAX]
        self.advice: Final = advice
        self.details: Final = details

    def __str__(self) -> str:
        return f"{self.message} {self.advice}" if self.advice else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # The default pickles `args`, which loses keyword-only state.
        return (error_from_data, (self.to_data(),))

    def to_data(self) -> dict[str, Any]:
        """This error as plain data that any codec can carry, whatever its details are."""
        return {
            "code": self.code,
            "message": _text(self.message),
            "advice": _text(self.advice),
            "details": {_text(str(key)): _plain(value) for key, value in self.details.items()},
        }

    @classmethod
    def _build(cls, data: Mapping[str, Any]) -> Self:
        details = data.get("details")
        # Not through `cls(...)`: a subclass may want other arguments, and what arrives may
        # hold a detail named like an argument.
        error = cls.__new__(cls)
        CallboardError.__init__(
            error, str(data.get("message", "")), advice=str(data.get("advice", ""))
        )
        if isinstance(details, Mapping):
            error.details.update((str(key), value) for key, value in details.items())
        return error


def _plain(value: Any, depth: int = 0) -> Any:
    """A detail as any codec can carry it; what is no plain value is told by its text."""
    if value is None or type(value) in (bool, float):
        return value
    if isinstance(value, str):
        return _text(value)
    if type(value) is int and -(2**63) <= value < 2**64:
        return value
    if depth < DETAILS_DEPTH_MAX:
        if isinstance(value, Mapping):
            return {_text(str(key)): _plain(part, depth + 1) for key, part in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(part, depth + 1) for part in value]
    try:
        return _text(repr(value)[:MESSAGE_CHARS_MAX])
    except Exception as error:  # noqa: BLE001 - somebody's __repr__ may do anything
        return f"a {type(value).__qualname__} ({type(error).__name__} in its repr)"


def _text(value: str) -> str:
    # A lone surrogate (from a file name that is not UTF-8, say) has no encoding.
    return value.encode("utf-8", "backslashreplace").decode()


# --- the author of a message must act -----------------------------------------


class ContractError(CallboardError):
    """A message does not keep its contract."""

    code = "contract"


class UnknownContract(ContractError):
    """The receiver knows no contract of that name."""

    code = "unknown_contract"


class VersionMismatch(ContractError):
    """The receiver has another version, or another schema, and no upcaster leads to it."""

    code = "version_mismatch"


class InvalidMessage(ContractError):
    """The fields do not validate, or a value cannot be encoded."""

    code = "invalid_message"


class PayloadTooLarge(ContractError):
    """A message is over a named limit of size, depth or count."""

    code = "payload_too_large"


class FrameError(ContractError):
    """Bytes that are not a frame: malformed, truncated or oversized."""

    code = "frame"


class WrongReply(ContractError):
    """A handler answered with something else than its request names."""

    code = "wrong_reply"


class SpecError(CallboardError):
    """A specification (of an actor, a supervisor, a configuration) is wrong."""

    code = "spec"


class PlanError(CallboardError):
    """A plan has a cycle, a missing dependency, a duplicate id, or is over a limit."""

    code = "plan"


class UsageError(CallboardError):
    """Callboard's API or command line was used in a way that cannot work."""

    code = "usage"


class NameTaken(CallboardError):
    """Another living actor has this name."""

    code = "name_taken"


class OutputError(CallboardError):
    """A result could not be written to where it was to go."""

    code = "output"


class RequestRejected(CallboardError):
    """The validation of a submitted request refused it."""

    code = "request_rejected"


class ResultRejected(CallboardError):
    """The validation of a merged result refused it."""

    code = "result_rejected"


# --- the caller decides whether to try again ------------------------------------


class AskError(CallboardError):
    """An ask has no reply; `may_have_run` says whether its handler may have started.

    An ask whose handler certainly never started is safe to repeat.
    """

    code = "ask"

    @property
    def may_have_run(self) -> bool:
        """Whether the handler may have started, so that a repetition could act twice."""
        return bool(self.details.get("may_have_run", True))


class DeadlineExceeded(AskError):
    """The deadline passed before the reply came; the handler was cancelled."""

    code = "deadline_exceeded"


class Cancelled(AskError):
    """The caller, or something above it, cancelled the work."""

    code = "cancelled"


class ActorNotFound(AskError):
    """There is no such actor; it never ran."""

    code = "actor_not_found"


class ActorStopped(AskError):
    """The actor stopped before it answered."""

    code = "actor_stopped"


class ActorRestarted(AskError):
    """The actor failed before it handled the request, and does not keep its mailbox."""

    code = "actor_restarted"


class ActorStartFailed(AskError):
    """The actor's constructor or `started` hook failed."""

    code = "actor_start_failed"


class NoAgentOffers(AskError):
    """No living actor offers a handler for this contract."""

    code = "no_agent_offers"


class MailboxFull(AskError):
    """The receiver's mailbox is full and its policy is to reject."""

    code = "mailbox_full"


class StashFull(AskError):
    """An actor wanted to put one more message aside than its class allows."""

    code = "stash_full"


class StoreFailed(AskError):
    """The store of keyed actors could not load or save a state."""

    code = "store_failed"


class StateConflict(StoreFailed):
    """Somebody else has saved a newer state: the writer is an old incarnation."""

    code = "state_conflict"


class HostLost(AskError):
    """The host died or cannot be reached."""

    code = "host_lost"


class PayloadLost(AskError):
    """A large value that a message refers to could not be fetched."""

    code = "payload_lost"


class HandlerFailed(AskError):
    """The handler raised; `remote_type` and `remote_traceback` tell what and where."""

    code = "handler_failed"

    @property
    def remote_type(self) -> str:
        """The qualified name of the exception class that the handler raised."""
        return str(self.details.get("remote_type", ""))

    @property
    def remote_traceback(self) -> str:
        """The remote traceback, as text."""
        return str(self.details.get("remote_traceback", ""))


class ExecutionFailed(AskError):
    """An execution ended without a result."""

    code = "execution_failed"


# --- the operator must act --------------------------------------------------------


class ClusterError(CallboardError):
    """The cluster cannot be used as asked."""

    code = "cluster"


class ClusterUnreachable(ClusterError):
    """No cluster answers at the address."""

    code = "cluster_unreachable"


# --- we must act -------------------------------------------------------------------


@final
class InternalError(CallboardError):
    """A defect of Callboard itself: please report it with its text."""

    code = "internal"


def _classes() -> dict[str, type[CallboardError]]:
    found: dict[str, type[CallboardError]] = {}
    pending: list[type[CallboardError]] = [CallboardError]
    while pending:
        cls = pending.pop()
        # The first class of a code wins, so that a user's subclass without a code of
        # its own comes back as the Callboard class it extends.
        found.setdefault(cls.code, cls)
        pending.extend(cls.__subclasses__())
    return found


def error_from_data(data: Any) -> CallboardError:
    """The exception that `data` describes; an unknown code gives the base class.

    Never fails: data from another host may be anything.
    """
    if not isinstance(data, Mapping):
        return CallboardError(f"an error arrived as {type(data).__name__}, not as data.")
    cls = _classes().get(str(data.get("code", "")), CallboardError)
    return cls._build(data)
