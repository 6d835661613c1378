"""Props: an actor class and the arguments of its constructor, as one value.

    await system.spawn(props(Counter, start=10), name="counter")

The constructor's arguments have a namespace of their own, so that none of them is mistaken
for an option of Callboard, and type checkers compare them with the constructor.
"""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, ParamSpec, TypeVar, cast

from callboard.messages.core.errors import SpecError

from .actor import Actor, behaviour_of
from .spawnable import Props, Spawnable

__all__ = ["arguments_problem", "props", "props_of"]

P = ParamSpec("P")
ActorT = TypeVar("ActorT", bound=Actor)
SHAPES_MAX: Final = 4_096
"""Actor classes whose constructors' signatures are cached."""
ANY_NUMBER: Final = 1 << 30


def props(actor: Callable[P, ActorT], /, *args: P.args, **keywords: P.kwargs) -> Props[ActorT]:
    """An actor class with its constructor's arguments, for every function that starts actors.

    The arguments are checked here. The host that starts the actor constructs it, and again at
    each restart. Raises `SpecError` when the constructor does not take these arguments.
    """
    if not isinstance(actor, type):
        behaviour_of(cast("Any", actor))  # It raises.
    least, most = _positions(actor)
    if keywords or not least <= len(args) <= most:
        _check_arguments(cast("type[Actor]", actor), args, keywords)
    return Props(cast("type[ActorT]", actor), args, keywords or None)


def props_of(actor: Spawnable[ActorT]) -> Props[ActorT]:
    """The `Props` of what is to be started: of a class alone, they have no arguments.

    Raises `SpecError` when it needs some, or is not an actor class.
    """
    if type(actor) is Props:
        return actor
    return props(actor)


def _check_arguments(actor: type[Actor], args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    """Raise `SpecError` when the constructor does not take these arguments."""
    problem = arguments_problem(actor, args, keywords)
    if problem:
        raise SpecError(
            f"the arguments do not fit {problem}.",
            advice=f"Write props({actor.__qualname__}, ...) with the constructor's arguments.",
            field="args",
        )


def arguments_problem(actor: Any, args: tuple[Any, ...], keywords: dict[str, Any] | None) -> str:
    """The signature that the arguments do not fit, and why; empty when they fit."""
    signature = _signature(actor)
    if signature is None:
        return ""
    try:
        signature.bind(*args, **(keywords or {}))
    except TypeError as error:
        return f"{actor.__qualname__}{signature}: {error}"
    return ""


@lru_cache(SHAPES_MAX)
def _signature(actor: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(actor)
    except (TypeError, ValueError):
        return None  # A constructor written in C has no signature.


@lru_cache(SHAPES_MAX)
def _positions(actor: Any) -> tuple[int, int]:
    """The smallest and the largest number of positional arguments that fit without keywords.

    Cached, because `props` may be called a million times and nearly always needs only this.
    """
    behaviour_of(actor)
    signature = _signature(actor)
    if signature is None:
        return 0, ANY_NUMBER
    least, most = 0, 0
    for parameter in signature.parameters.values():
        needed = parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = ANY_NUMBER
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if needed:
                return ANY_NUMBER, ANY_NUMBER  # Always check by the signature.
        elif parameter.kind is not parameter.VAR_KEYWORD:
            most += 1
            least += needed
    return least, most
