"""The classes that users derive from, and how such a class becomes a dispatch table.

    class Reviewer(Agent):
        @handler
        async def review(self, request: ReviewFile, ctx: Context) -> Findings: ...

A handler takes one contract, and a `Context` if it declares a second parameter. The kernel
reads and checks its annotations once per class, before the first actor of the class starts:
a handler whose reply type is not the one that its request names is refused.

A `def` handler runs in a thread, an `async def` handler on the host's event loop. An `async def`
handler that yields streams its results; see `partials`.
"""

import copy
import enum
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import SupervisorSpec
from callboard.messages.core.contract import Contract, Request, is_same_contract, reply_type
from callboard.messages.core.errors import SpecError
from callboard.messages.core.limits import DEFAULT_LIMITS

from .context import Context
from .partials import yields_of

__all__ = [
    "Actor",
    "Agent",
    "Behaviour",
    "Handler",
    "OnError",
    "OnRestart",
    "Overflow",
    "behaviour_of",
    "check_returns",
    "contract_in",
    "contracts_yielded_for",
    "forget_behaviours",
    "handler",
    "handlers_of",
    "plain_method",
]

EnumT = TypeVar("EnumT", bound=enum.Enum)
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
STASH_MESSAGES: Final = 1_024
ROWS_MAX: Final = 1_024
"""Rows of a dispatch table, including those added for subclasses of its contracts."""
_MARK: Final = "__callboard_handler__"
HOOKS: Final = frozenset({"started", "stopping"})
"""Methods that the kernel calls by name."""
BEHAVIOURS_MAX: Final = 1_024
"""Actor classes whose dispatch tables are kept. Nothing is stored on a class: it would travel with
a class of a driver's `__main__`, and a table with its class in it is never collected."""


class Overflow(enum.Enum):
    """What a full mailbox does with one more message."""

    WAIT = "wait"
    """`send` and `ask` wait, `tell` is refused, and remote senders are paused."""
    REJECT = "reject"
    """The sender gets `MailboxFull`; a remote `tell` becomes a dead letter."""
    DROP_OLDEST = "drop_oldest"
    """The oldest message becomes a dead letter; its asker, if any, gets `MailboxFull`."""


class OnError(enum.Enum):
    """What an exception in a handler does to its actor. The asker gets the error either way."""

    RESTART = "restart"
    """The actor fails; its supervisor decides. State that may be damaged is thrown away."""
    RESUME = "resume"
    """The actor keeps its state and continues: for handlers that leave nothing half done."""


class OnRestart(enum.Enum):
    """What a restart does with the messages that wait, in the mailbox and in the stash."""

    KEEP = "keep"
    """The next incarnation handles them, the stashed ones first."""
    DROP = "drop"
    """Asks fail with `ActorRestarted`; tells are dropped and counted as `dropped_at_restart`."""
    DEAD_LETTERS = "dead_letters"
    """Asks fail with `ActorRestarted`; tells become dead letters of the reason `restarted`."""


def handler(function: FunctionT) -> FunctionT:
    """Mark a method as the handler of the contract that its first parameter names."""
    try:
        setattr(function, _MARK, True)
    except (AttributeError, TypeError):
        raise SpecError(
            f"{function!r} cannot be a handler.", advice="Decorate a method of an actor class."
        ) from None
    return function


class Actor:
    """An object with typed handlers, a mailbox and an address.

    It handles one message at a time unless `concurrency` says otherwise. Class
    attributes are its policy; all have defaults.
    """

    mailbox_messages: ClassVar[int] = DEFAULT_LIMITS.mailbox_messages
    overflow: ClassVar[Overflow] = Overflow.WAIT
    on_error: ClassVar[OnError] = OnError.RESTART
    concurrency: ClassVar[int] = 1
    mailbox_on_restart: ClassVar[OnRestart] = OnRestart.KEEP
    stash_messages: ClassVar[int] = STASH_MESSAGES
    """How many messages `Context.stash` may put aside."""
    attempts_max: ClassVar[int] = 1
    """How many incarnations a message may crash before it goes to dead letters."""
    supervision: ClassVar[SupervisorSpec] = SupervisorSpec()
    """How this actor supervises the children it spawns."""
    reentrant: ClassVar[bool] = False
    """Whether it handles an ask of its own call chain while the handlers of that chain wait."""
    trap_exits: ClassVar[bool] = False
    """Whether the end of a linked actor reaches it as a message (`Exited`) and does not end it."""

    async def started(self, ctx: Context) -> None:
        """The kernel calls this after construction and each restart, before the first message."""

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """The kernel calls this in an ordered stop, after the children; not after a crash."""


class Agent(Actor):
    """An actor that executes sub-tasks: an error belongs to the sub-task, not to the agent."""

    on_error: ClassVar[OnError] = OnError.RESUME


@dataclass(frozen=True, slots=True)
class Handler:
    """One row of a dispatch table."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    wants_context: bool
    contract: type[Contract]
    reply: type[Contract] | None
    """The type of the reply; None means that the handler returns None."""
    is_plain: bool
    """Whether it is a coroutine function that takes the message alone."""
    streams: bool = False
    """Whether it is an async generator: it yields partial results, then its reply."""
    yields: tuple[type[Contract], ...] = ()
    """The contracts that it yields, as far as its annotation names them."""

    def accepts(self, result: Any) -> bool:
        """Whether `result` is of the reply type that the request names, or a subclass of it."""
        return result is None if self.reply is None else isinstance(result, self.reply)


class Behaviour:
    """The dispatch table and the policy of an actor class, read once."""

    __slots__ = (
        "__weakref__",
        "actor",
        "attempts_max",
        "concurrency",
        "handlers",
        "has_started_hook",
        "has_stopping_hook",
        "mailbox_messages",
        "mailbox_on_restart",
        "overflow",
        "reentrant",
        "restarts_on_error",
        "stash_messages",
        "trap_exits",
    )

    def __init__(self, actor: type[Actor]) -> None:
        self.actor = actor
        self.handlers: dict[type, Handler] = dict(handlers_of(actor))
        self.has_started_hook = actor.started is not Actor.started
        self.has_stopping_hook = actor.stopping is not Actor.stopping
        self.concurrency = _positive(actor, "concurrency", actor.concurrency)
        self.mailbox_messages = _positive(actor, "mailbox_messages", actor.mailbox_messages)
        self.overflow = _chosen(actor, "overflow", actor.overflow, Overflow)
        self.mailbox_on_restart = _chosen(
            actor, "mailbox_on_restart", actor.mailbox_on_restart, OnRestart
        )
        self.stash_messages = _positive(actor, "stash_messages", actor.stash_messages)
        self.attempts_max = _positive(actor, "attempts_max", actor.attempts_max)
        self.reentrant = _truth(actor, "reentrant", actor.reentrant)
        self.trap_exits = _truth(actor, "trap_exits", actor.trap_exits)
        self.restarts_on_error = (
            _chosen(actor, "on_error", actor.on_error, OnError) is OnError.RESTART
        )

    def extended(self, extra: Mapping[type, Handler]) -> "Behaviour":
        """A copy with more handlers; raises `SpecError` for a contract that has one already."""
        for contract in self.handlers.keys() & extra.keys():
            raise SpecError(
                f"{self.actor.__qualname__}.{self.handlers[contract].name} and "
                f"{extra[contract].name} both handle {contract.__name__}.",
                advice="Write one handler for each contract.",
            )
        more = copy.copy(self)
        more.handlers = {**self.handlers, **extra}
        return more

    def find(self, contract: type) -> Handler | None:
        """The handler of a contract that has no row of its own.

        It is the handler of its nearest base, or of the same contract defined as another class.
        """
        for base in contract.__mro__[1:]:
            found = self.handlers.get(base)
            if found is not None:
                break
        else:
            rows = self.handlers.items()
            found = next((row for own, row in rows if is_same_contract(own, contract)), None)
        if found is not None and len(self.handlers) < ROWS_MAX:
            self.handlers[contract] = found
        return found


def behaviour_of(actor: type[Actor]) -> Behaviour:
    """The behaviour of an actor class; raises `SpecError` naming class, method and problem."""
    if not (isinstance(actor, type) and issubclass(actor, Actor)):
        raise SpecError(f"{actor!r} is not an Actor class.", advice="Derive it from Actor.")
    found = _BEHAVIOURS.get(actor)
    if found is None:
        if len(_BEHAVIOURS) >= BEHAVIOURS_MAX:
            _BEHAVIOURS.clear()
        found = _BEHAVIOURS[actor] = Behaviour(actor)
    return found


_BEHAVIOURS: Final[dict[type[Actor], Behaviour]] = {}


def contracts_yielded_for(contract: type[Contract]) -> tuple[type[Contract], ...]:
    """The contracts that handlers of a request yield, in the actor classes that are known here."""
    rows = (each.handlers.get(contract) for each in _BEHAVIOURS.values())
    return tuple(dict.fromkeys(kind for row in rows if row is not None for kind in row.yields))


def forget_behaviours() -> None:
    """Read every class again at its next use: the code of some has changed in place."""
    _BEHAVIOURS.clear()


def _positive(actor: type[Actor], field: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise SpecError(
            f"{actor.__qualname__}.{field} is {value!r}.", advice="Set a whole number from 1 on."
        )
    return value


def _truth(actor: type[Actor], field: str, value: Any) -> bool:
    if type(value) is not bool:
        raise SpecError(f"{actor.__qualname__}.{field} is {value!r}.", advice="Set True or False.")
    return value


def _chosen(actor: type[Actor], field: str, value: Any, kind: type[EnumT]) -> EnumT:
    if not isinstance(value, kind):
        raise SpecError(
            f"{actor.__qualname__}.{field} is {value!r}.",
            advice=f"Set one of {', '.join(str(choice) for choice in kind)}.",
        )
    return value


def handlers_of(actor: type[Any]) -> Mapping[type, Handler]:
    """The marked methods of a class, by their contracts; raises `SpecError`."""
    table: dict[type, Handler] = {}
    for name in dir(actor):
        if not _is_marked(actor, name):
            continue
        if name in HOOKS:
            raise SpecError(
                f"{actor.__qualname__}.{name} is marked as a handler, but it is a hook of Actor.",
                advice="Give the handler another name: the kernel would call it as the hook, too.",
                field=name,
            )
        function = plain_method(actor, name)
        if function is None:
            continue
        row = _read_handler(actor, name, function)
        other = table.get(row.contract)
        if other is not None:
            raise SpecError(
                f"{actor.__qualname__}: {other.name} and {name} both handle "
                f"{row.contract.contract_name}.",
                advice="Write one handler for each contract.",
            )
        table[row.contract] = row
    return table


def _is_marked(actor: type[Any], name: str) -> bool:
    # An override without the decorator is still the handler that its base declared.
    return any(_has_mark(base.__dict__.get(name)) for base in actor.__mro__)


def _has_mark(attribute: Any) -> bool:
    if isinstance(attribute, staticmethod | classmethod):
        attribute = attribute.__func__
    elif isinstance(attribute, functools.partial | functools.partialmethod):
        attribute = attribute.func
    return getattr(attribute, _MARK, False) is True


def _read_handler(actor: type[Any], name: str, function: Callable[..., Any]) -> Handler:
    where = f"handler {actor.__qualname__}.{name}"
    parameters = list(inspect.signature(function).parameters.values())[1:]
    positional = all(parameter.kind in _POSITIONAL for parameter in parameters)
    if not 1 <= len(parameters) <= 2 or not positional:
        raise SpecError(
            f"{where} has the signature {inspect.signature(function)}.",
            advice="Take self, a contract, and a Context if needed, all by position.",
        )
    streams = inspect.isasyncgenfunction(function)
    if not streams:
        check_returns(where, function)
    contract = contract_in(where, parameters[0].name, hints := _hints(where, function))
    _check_context(where, [hints.get(parameter.name) for parameter in parameters[1:]])
    returned = hints.get("return", Any)
    returned = None if returned is type(None) else returned
    named = reply_type(contract)
    yields: tuple[type[Contract], ...] = ()
    if streams:
        yields = yields_of(where, contract, named, returned)
    elif issubclass(contract, Request):
        if returned is not Any and returned is not named and not _is_narrower(returned, named):
            raise SpecError(
                f"{where} returns {_name(returned)}, but {contract.contract_name} "
                f"is answered by {_name(named)}.",
                advice="Let both name the same contract.",
            )
    elif returned is not None and returned is not Any:
        raise SpecError(
            f"{where} returns {_name(returned)}, but {contract.contract_name} is not a Request.",
            advice="Derive the contract from Request[Reply], or return None.",
        )
    is_async = inspect.iscoroutinefunction(function)
    wants_context = len(parameters) == 2
    is_plain = is_async and not wants_context
    return Handler(
        name, function, is_async, wants_context, contract, named, is_plain, streams, yields
    )


def plain_method(owner: type[Any], name: str) -> Callable[..., Any] | None:
    """A method by its name; None when a subclass has removed it by `name = None`.

    Raises `SpecError` for a partial, a static method, or any other object.
    """
    function = inspect.getattr_static(owner, name)
    if function is None or inspect.isfunction(function):
        return function
    raise SpecError(
        f"{owner.__qualname__}.{name} is a {type(function).__name__}, not a method.",
        advice="Write a method, with `def` or `async def`, that calls it.",
        field=name,
    )


def check_returns(where: str, function: Callable[..., Any]) -> None:
    """Raise `SpecError` when a call of the function gives a generator, or, unseen, a coroutine.

    A `def` around an `async def` may run the coroutine, or give it to its caller: nobody can see
    which, and a coroutine that nobody awaits never runs.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SpecError(
            f"{where} yields.", advice="Return the result: a caller gets one, and only whole."
        )
    if not inspect.iscoroutinefunction(function):
        inner = inspect.unwrap(function)
        if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
            raise SpecError(
                f"{where} is an `async def` inside a decorator that is a `def`.",
                advice="Make the decorator's wrapper an `async def` that awaits the function.",
            )


def contract_in(where: str, parameter: str, hints: Mapping[str, Any]) -> type[Contract]:
    """The contract that a parameter's annotation names; raises `SpecError`."""
    contract = hints.get(parameter)
    if not (isinstance(contract, type) and issubclass(contract, Contract)):
        found = f"is annotated {contract!r}" if parameter in hints else "has no annotation"
        raise SpecError(
            f"{where}: parameter {parameter!r} {found}.",
            advice="Annotate it with the Contract class that the method takes.",
        )
    return contract


def _hints(where: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        # Drivers import Context for type checkers only; it resolves without an import.
        return typing.get_type_hints(function, localns={"Context": Context})
    except Exception as error:
        # Annotations are the user's code: not only their names may be wrong.
        raise SpecError(
            f"{where}: its annotations do not resolve: {type(error).__name__}: {error}.",
            advice="Define or import the contract at module level, before the actor starts.",
        ) from error


_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def _check_context(where: str, annotations: list[Any]) -> None:
    for annotation in annotations:
        if annotation not in {None, Any, Context}:
            raise SpecError(
                f"{where}: its second parameter is annotated {annotation!r}.",
                advice="The second parameter is the Context.",
            )


def _is_narrower(returned: Any, named: Any) -> bool:
    return isinstance(returned, type) and isinstance(named, type) and issubclass(returned, named)


def _name(cls: Any) -> str:
    return str(getattr(cls, "contract_name", cls))
