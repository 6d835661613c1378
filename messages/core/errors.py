"""Every error that Callboard raises, grouped by who must act, with one picklable base.

An error crosses hosts as data: `to_data` gives a plain mapping, and `error_from_data`
turns it into an exception of the same class. Callboard never unpickles what a remote
handler raised; the remote traceback travels as text.

Each error says what failed, where, and what to do about it (`advice`).
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
    "CircularAsk",
    "ClusterError",
    "ClusterUnreachable",
    "ContractError",
    "DeadlineExceeded",
    "ExecutionFailed",
    "ExecutionIdTaken",
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
"""A longer message or advice is cut: an error must stay smaller than what failed."""

DETAIL_CHARS_MAX: Final = 20_000
"""A longer text among the details is cut when the error travels; a traceback is shorter."""

REMOTE_CHARS_MAX: Final = 16_000
"""Of a remote traceback that is longer, an uncaught error prints the end."""

DETAILS_DEPTH_MAX: Final = 8
"""Details that nest deeper are replaced by their text."""


class CallboardError(Exception):
    """The base of every error that Callboard raises.

    `message` says what failed and where, and `advice` says what to do. `details` holds
    plain values: str, int, float, bool, None, and lists or dicts of them. A message or an advice
    of more than 4,000 characters is cut, and what has no encoding in them is escaped. The
    traceback of an error of another actor is a note of this one, so that an uncaught error
    shows where it was raised.
    """

    code: ClassVar[str] = "callboard"
    """Names the class on the wire and in logs. A subclass of yours may have its own."""

    def __init__(self, message: str, /, *, advice: str = "", **details: Any) -> None:
        self.message: Final = _cut(message)
        self.advice: Final = _cut(advice)
        super().__init__(self.message)
        self.details: Final = details
        _note_remote_traceback(self)

    def __str__(self) -> str:
        return f"{self.message} {self.advice}" if self.advice else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # The default pickles `args`, which loses keyword-only state.
        return (error_from_data, (self.to_data(),))

    def to_data(self) -> dict[str, Any]:
        """This error as plain data. Any codec can encode it, whatever its details are."""
        return {
            "code": self.code,
            "message": self.message,
            "advice": self.advice,
            "details": {_text(str(key)): _plain(value) for key, value in self.details.items()},
        }

    @classmethod
    def _build(cls, data: Mapping[str, Any]) -> Self:
        details = data.get("details")
        # Not through `cls(...)`: a subclass may take other arguments, and the received data
        # may hold a detail that has the name of an argument.
        error = cls.__new__(cls)
        CallboardError.__init__(
            error, str(data.get("message", "")), advice=str(data.get("advice", ""))
        )
        if isinstance(details, Mapping):
            error.details.update((str(key), value) for key, value in details.items())
            _note_remote_traceback(error)
        return error


def _note_remote_traceback(error: CallboardError) -> None:
    """Let an uncaught error print the traceback of the other host, after its own."""
    remote = error.details.get("remote_traceback")
    if isinstance(remote, str) and remote:
        error.add_note(f"Where it was raised:\n{remote[-REMOTE_CHARS_MAX:].rstrip()}")


def _plain(value: Any, depth: int = 0) -> Any:
    """A detail in a form that any codec can encode; other values become their text."""
    if value is None or type(value) in (bool, float):
        return value
    if isinstance(value, str):
        return _text(value[:DETAIL_CHARS_MAX])
    if type(value) is int and -(2**63) <= value < 2**64:
        return value
    if depth < DETAILS_DEPTH_MAX:
        if isinstance(value, Mapping):
            return {_text(str(key)): _plain(part, depth + 1) for key, part in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(part, depth + 1) for part in value]
    try:
        return _text(repr(value)[:MESSAGE_CHARS_MAX])
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may do anything
        return f"a {type(value).__qualname__} ({type(error).__name__} in its repr)"


def _cut(text: str) -> str:
    return text[:MESSAGE_CHARS_MAX] if text.isascii() else _text(text[:MESSAGE_CHARS_MAX])


def _text(value: str) -> str:
    # A lone surrogate (from a file name that is not UTF-8, say) has no encoding.
    return value.encode("utf-8", "backslashreplace").decode()


# --- the author of a message must act -----------------------------------------


class ContractError(CallboardError):
    """A message violates its contract."""

    code = "contract"


class UnknownContract(ContractError):
    """The receiver knows no contract of this name."""

    code = "unknown_contract"


class VersionMismatch(ContractError):
    """The receiver has another version or schema, and no upcaster leads to it."""

    code = "version_mismatch"


class InvalidMessage(ContractError):
    """A field does not validate, or a value has no encoding."""

    code = "invalid_message"


class PayloadTooLarge(ContractError):
    """A message exceeds a limit of size, depth or count. See `Limits`."""

    code = "payload_too_large"


class FrameError(ContractError):
    """Received bytes are not a frame: malformed, truncated or too large."""

    code = "frame"


class WrongReply(ContractError):
    """A handler returned another type than its request declares."""

    code = "wrong_reply"


class SpecError(CallboardError):
    """A specification (of an actor, a supervisor, a job, a setting) is wrong.

    `details["field"]`, if there is one, names the field.
    """

    code = "spec"


class PlanError(CallboardError):
    """A plan has a cycle, a missing dependency or a duplicate id, or exceeds a limit.

    `details["problems"]` lists the problems.
    """

    code = "plan"


class UsageError(CallboardError):
    """A call of Callboard's API, or a command line, cannot work."""

    code = "usage"


class NameTaken(CallboardError):
    """Another living actor has this name."""

    code = "name_taken"


class ExecutionIdTaken(CallboardError):
    """Another request was submitted under this execution id.

    `details["differences"]` lists the differences: the job, or fields of the request.
    """

    code = "execution_id_taken"


class OutputError(CallboardError):
    """A job's `deliver` failed: the result did not reach its destination."""

    code = "output"


class RequestRejected(CallboardError):
    """A job's `validate` refused the submitted request."""

    code = "request_rejected"


class ResultRejected(CallboardError):
    """A job's `check` refused the merged result, or its reducer could not merge the values."""

    code = "result_rejected"


# --- the caller decides whether to try again ------------------------------------


class AskError(CallboardError):
    """An ask has no reply; `may_have_run` says whether its handler may have started.

    If the handler has certainly not started, repeating the ask is safe.
    """

    code = "ask"

    @property
    def may_have_run(self) -> bool:
        """Whether the handler may have started, so that a repetition could act twice."""
        return bool(self.details.get("may_have_run", True))


class DeadlineExceeded(AskError):
    """The deadline passed before the reply arrived. A handler that ran is cancelled."""

    code = "deadline_exceeded"


class Cancelled(AskError):
    """The caller, or a caller further up, cancelled the work."""

    code = "cancelled"


class CircularAsk(AskError):
    """The ask came back to an actor that waits for it, so no reply was possible.

    `details["actors"]` lists the paths of the actors, the first one again at the end.
    """

    code = "circular_ask"


class ActorNotFound(AskError):
    """The address or name has no actor, so no handler ran."""

    code = "actor_not_found"


class ActorStopped(AskError):
    """The actor stopped before it answered."""

    code = "actor_stopped"


class ActorRestarted(AskError):
    """The actor restarted before it handled the request, and drops its mailbox on a restart."""

    code = "actor_restarted"


class ActorStartFailed(AskError):
    """The actor's constructor, `started` hook or placement failed."""

    code = "actor_start_failed"


class NoAgentOffers(AskError):
    """No living actor offers a handler for this contract."""

    code = "no_agent_offers"


class MailboxFull(AskError):
    """The receiver's mailbox, or the queue in front of it, has no room."""

    code = "mailbox_full"


class StashFull(AskError):
    """An actor stashed more messages than its class allows."""

    code = "stash_full"


class StoreFailed(AskError):
    """A store could not read or write."""

    code = "store_failed"


class StateConflict(StoreFailed):
    """Another writer has stored a newer state since this one was read."""

    code = "state_conflict"


class HostLost(AskError):
    """The actor's host died or cannot be reached."""

    code = "host_lost"


class PayloadLost(AskError):
    """A large value that a message refers to could not be fetched."""

    code = "payload_lost"


class HandlerFailed(AskError):
    """The handler raised an exception; see `remote_type` and `remote_traceback`."""

    code = "handler_failed"

    @property
    def remote_type(self) -> str:
        """The qualified name of the exception class that the handler raised."""
        return str(self.details.get("remote_type", ""))

    @property
    def remote_traceback(self) -> str:
        """The traceback on the handler's host, as text."""
        return str(self.details.get("remote_traceback", ""))


class ExecutionFailed(AskError):
    """An execution ended without a result: a sub-task or a part of its job failed."""

    code = "execution_failed"


# --- the operator must act --------------------------------------------------------


class ClusterError(CallboardError):
    """The cluster cannot do what was asked: resources, processes or files are missing."""

    code = "cluster"


class ClusterUnreachable(ClusterError):
    """No Ray cluster answers at the address."""

    code = "cluster_unreachable"


# --- we must act -------------------------------------------------------------------


@final
class InternalError(CallboardError):
    """A defect of Callboard itself. Please report it with its text."""

    code = "internal"


def _classes() -> dict[str, type[CallboardError]]:
    found: dict[str, type[CallboardError]] = {}
    pending: list[type[CallboardError]] = [CallboardError]
    while pending:
        cls = pending.pop()
        # The first class of a code wins: a user's subclass without a code of its own
        # arrives as the Callboard class that it extends.
        found.setdefault(cls.code, cls)
        pending.extend(cls.__subclasses__())
    return found


def error_from_data(data: Any) -> CallboardError:
    """The exception that `data` describes; an unknown code gives a `CallboardError`.

    Raises nothing: data from another host may be anything.
    """
    if not isinstance(data, Mapping):
        return CallboardError(f"an error arrived as {type(data).__name__}, not as a mapping.")
    cls = _classes().get(str(data.get("code", "")), CallboardError)
    return cls._build(data)
