"""A supervision tree as data: its actors, their start order, and their supervisors.

    TreeSpec(
        "reviews",
        children=(
            ActorSpec("store", props(Store, "/data")),
            TreeSpec("workers", children=(ActorSpec("0", Worker), ActorSpec("1", Worker))),
        ),
        supervisor=SupervisorSpec(strategy=Strategy.REST_FOR_ONE),
    )

A `TreeSpec` is a supervisor and nothing else, as in OTP: it handles no messages, its
children start in the order given, and it runs once all of them do. An `ActorSpec` is a
worker, or a pool of workers. A `TreeSpec` checks the whole tree when it is made. It checks its
`ActorSpec`s too, because only the tree knows their places.

Invariant: every refusal is a `SpecError`; its text and `details["field"]` name the place,
such as `reviews.children[2].stop_timeout`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias, cast, final

from callboard.messages.control.placement import Placement
from callboard.messages.control.spec import (
    STOP_TIMEOUT_DEFAULT,
    AutoShutdown,
    Backoff,
    ChildId,
    ChildSpec,
    Restart,
    StopTimeout,
    SupervisorSpec,
)
from callboard.messages.core.errors import SpecError
from callboard.messages.core.names import check_name
from callboard.messages.ports import Pickler

from ..kernel.actor import Actor, behaviour_of
from ..kernel.props import arguments_problem
from ..kernel.spawnable import Props

__all__ = [
    "TREE_DEPTH_MAX",
    "TREE_NODES_MAX",
    "TREE_POOL_MAX",
    "ActorSpec",
    "Node",
    "Part",
    "RemoteChildSpec",
    "TreeSpec",
    "check_child",
    "check_ships",
    "child_spec",
    "parts_of",
    "places",
    "walk",
    "without_placed",
]

TREE_DEPTH_MAX: Final = 32
"""Levels of supervisors. OTP's largest applications have about ten."""

TREE_NODES_MAX: Final = 100_000
"""Supervisors and actors in one tree: as many as one host is measured with. Spawn more
actors, or split them into several trees."""

TREE_POOL_MAX: Final = 100_000
"""Agents of one pool in a tree, all on one host."""


SUPERVISOR_DEFAULT: Final = SupervisorSpec()
"""OTP's default strategy, with the intensity and the back-off of `SupervisorSpec`."""


@final
@dataclass(frozen=True, slots=True)
class ActorSpec:
    """One worker of a tree: an actor, or with `size` a pool of so many on its host.

    With `register`, the whole system finds it by its name; with `offer`, by the contracts
    that it handles. `placement` puts it on another host than its supervisor.
    """

    name: str
    """Its name, unique among its siblings."""
    actor: Callable[[], Actor] | Props[Actor]
    """A class whose constructor takes no arguments, or `props(Class, ...)`."""
    restart: Restart = Restart.PERMANENT
    """When its supervisor restarts it."""
    stop_timeout: StopTimeout = STOP_TIMEOUT_DEFAULT
    """How long it may take to stop."""
    significant: bool = False
    """Whether its end can end its supervisor."""
    backoff: Backoff | None = None
    """Its own back-off; with None, its supervisor's."""
    size: int | None = None
    """The agents of a pool; None for one actor."""
    offer: bool = False
    """Whether the whole system finds it by the contracts that it handles."""
    register: bool = False
    """Whether the whole system finds it by its name."""
    placement: Placement | None = None
    """Where it runs; with None, on the host of its supervisor."""

    @property
    def props(self) -> Props[Actor]:
        """Its class and the constructor's arguments."""
        if isinstance(self.actor, Props):
            return self.actor
        return Props(cast("type[Actor]", self.actor))


@final
@dataclass(frozen=True, slots=True)
class TreeSpec:
    """A supervisor and its children, in start order; a child may be a tree itself.

    The constructor checks the whole tree and raises SpecError. The default stop timeout is
    infinite, because each child has its own.
    """

    name: str
    """Its name, unique among its siblings."""
    children: tuple["Node | RemoteChildSpec", ...] = ()
    """The children, in the order of their start."""
    supervisor: SupervisorSpec = SUPERVISOR_DEFAULT
    """The policy for the children."""
    restart: Restart = Restart.PERMANENT
    """When its supervisor restarts it."""
    stop_timeout: StopTimeout = StopTimeout.INFINITY
    """How long it may take to stop."""
    significant: bool = False
    """Whether its end can end its supervisor."""
    backoff: Backoff | None = None
    """Its own back-off; with None, its supervisor's."""
    placement: Placement | None = None
    """Where it runs; with None, on the host of its supervisor."""

    def __post_init__(self) -> None:
        _check_name("TreeSpec", self.name)
        place = self.name
        _check_kind(f"{place}.placement", self.placement, Placement | None)
        _check_supervisor(place, self)
        nodes = 0
        for nested_place, node, depth in places(place, self, 1):
            nodes += 1
            if depth > TREE_DEPTH_MAX:
                _refuse(
                    nested_place,
                    f"is {depth} supervisors deep",
                    f"A tree has at most {TREE_DEPTH_MAX} levels.",
                )
            if isinstance(node, ActorSpec) and depth == 1:  # Subtrees have checked theirs.
                _check_actor(nested_place, node)
        if nodes > TREE_NODES_MAX:
            _refuse(
                f"{place}.children",
                f"hold {nodes:,} nodes in all",
                f"A tree has at most {TREE_NODES_MAX:,}: spawn actors, or make several trees.",
            )
        child_spec(self, self.name, place)
        _check_registered(place, self)


@final
@dataclass(frozen=True, slots=True)
class RemoteChildSpec:
    """A placed child, as the host of its supervisor knows it: without its code and arguments."""

    name: str
    kind: str
    """The class name of its actor, for people."""
    is_supervisor: bool
    restart: Restart
    stop_timeout: StopTimeout
    significant: bool
    backoff: Backoff | None
    below: int
    """The number of placed children below it."""


Node: TypeAlias = ActorSpec | TreeSpec


class Part(NamedTuple):
    """The part of a tree on one host: a placed node or the root, and the nodes with it."""

    path: str
    place: str
    """The node, as errors name it."""
    node: Node
    paths: list[str | None]
    """The paths of this part's cells in the order of their numbers; None: a proxy."""
    below: list[int]
    """The parts of its placed children, at any depth, as indexes into `parts_of`."""


def walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every node with its path below the root (`""` for the root), each before its children.

    On each host the cell numbers follow this order: see `parts_of`.
    """
    yield path, node
    if isinstance(node, TreeSpec):
        for child in node.children:
            if not isinstance(child, RemoteChildSpec):
                yield from walk(child, f"{path}/{child.name}" if path else child.name)


def parts_of(tree: Node) -> list[Part]:
    """Split a tree by its placements; each part comes before those inside it."""
    found: list[Part] = []

    def begin(path: str, place: str, node: Node) -> None:
        part = Part(path, place, node, [], [])
        number = len(found)
        found.append(part)
        add(part, path, place, node)
        part.below.extend(range(number + 1, len(found)))

    def add(part: Part, path: str, place: str, node: Node) -> None:
        part.paths.append(path)
        for index, child in enumerate(node.children if isinstance(node, TreeSpec) else ()):
            assert not isinstance(child, RemoteChildSpec), (
                "only shipped trees have remote child specs"
            )
            below = f"{path}/{child.name}" if path else child.name
            if child.placement is None:
                add(part, below, f"{place}.children[{index}]", child)
            else:
                part.paths.append(None)
                begin(below, f"{place}.children[{index}]", child)

    begin("", tree.name, tree)
    return found


def without_placed(node: Node) -> Node:
    """A node as its own host gets it, with a `RemoteChildSpec` for each placed child."""
    if isinstance(node, ActorSpec):
        return node
    children = tuple(
        child
        if isinstance(child, RemoteChildSpec)
        else without_placed(child)
        if child.placement is None
        else _remote_child_spec(child)
        for child in node.children
    )
    if all(ours is theirs for ours, theirs in zip(children, node.children, strict=True)):
        return node
    return replace(node, children=children)


def _remote_child_spec(child: Node) -> RemoteChildSpec:
    return RemoteChildSpec(
        name=child.name,
        kind="Supervisor" if isinstance(child, TreeSpec) else child.props.actor.__qualname__,
        is_supervisor=isinstance(child, TreeSpec),
        restart=child.restart,
        stop_timeout=child.stop_timeout,
        significant=child.significant,
        backoff=child.backoff,
        below=len(parts_of(child)) - 1,
    )


def child_spec(node: Node | RemoteChildSpec, child_id: ChildId, place: str) -> ChildSpec:
    """The child spec of a node. Raises `SpecError` that names the place."""
    try:
        return ChildSpec(
            child_id,
            restart=node.restart,
            stop_timeout=_stop_timeout(node),
            significant=node.significant,
            backoff=node.backoff,
        )
    except SpecError as error:
        wrong = str(error.details.get("field", "ChildSpec.id")).partition(".")[2]
        where = f"{place}.{wrong}"
        message = error.message.replace(f"ChildSpec.{wrong}", where)
        raise SpecError(message, advice=error.advice, field=where) from None


def _stop_timeout(node: Node | RemoteChildSpec) -> StopTimeout:
    if isinstance(node, RemoteChildSpec) and not node.stop_timeout.is_brutal:
        return StopTimeout.INFINITY  # Its own host keeps to the node's timeout.
    return node.stop_timeout


def check_child(tree: TreeSpec, child: Node) -> None:
    """Check one more child of a running tree. Raises `SpecError`, with `child` as the place."""
    if isinstance(child, ActorSpec):
        _check_name("child", child.name)
        child_spec(child, child.name, "child")
        _check_actor("child", child)
    elif not isinstance(child, TreeSpec):
        _refuse("child", f"is {child!r}", "It must be an ActorSpec or a TreeSpec.")
    for part in parts_of(child):
        if part.node.placement is not None:
            _refuse(
                f"child{part.place.removeprefix(child.name)}.placement",
                "is set, but a child added by hand runs on its supervisor's host",
                "Declare it in the TreeSpec, or start it as a separate tree.",
            )
    if child.significant and tree.supervisor.auto_shutdown is AutoShutdown.NEVER:
        _refuse("child.significant", "is set, but auto_shutdown is never", "Set auto_shutdown.")


def check_ships(tree: Node, pickler: Pickler) -> None:
    """Check that each node can travel to a host; raises `SpecError` that names the place."""
    for place, node, _ in places(tree.name, tree, 1):
        if isinstance(node, ActorSpec):
            for where, value in _parts(place, node):
                try:
                    pickler.dumps(value)
                except Exception as error:
                    raise SpecError(
                        f"{where} cannot be sent to a host: {type(error).__name__}: {error}.",
                        advice="It must be picklable: open files, locks and connections in the "
                        "constructor or in `started`.",
                        field=where,
                    ) from error


def _parts(place: str, node: ActorSpec) -> Iterator[tuple[str, Any]]:
    made = node.props
    yield f"{place}.actor", made.actor
    for index, value in enumerate(made.args):
        yield f"{place}.actor.args[{index}]", value
    for name, value in (made.keywords or {}).items():
        yield f"{place}.actor.keywords[{name!r}]", value


# --- the checks ------------------------------------------------------------------------------


def _refuse(where: str, problem: str, advice: str) -> NoReturn:
    raise SpecError(f"{where} {problem}.", advice=advice, field=where)


def _check_kind(where: str, value: object, kind: Any) -> None:
    if not isinstance(value, kind):
        name = getattr(kind, "__name__", str(kind))
        _refuse(where, f"is {value!r}", f"It must be {name}.")


def _check_name(place: str, name: object) -> None:
    # Names form paths.
    check_name(f"{place}.name is", name, without="/", field=f"{place}.name")


def places(place: str, tree: Node, depth: int) -> Iterator[tuple[str, Node, int]]:
    """Every node in the order of `walk`, with its place as errors name it, and its depth."""
    yield place, tree, depth
    if isinstance(tree, ActorSpec):
        return
    for index, child in enumerate(tree.children):
        nested = f"{place}.children[{index}]"
        if isinstance(child, TreeSpec):
            yield from places(nested, child, depth + 1)
        elif isinstance(child, ActorSpec):
            yield nested, child, depth


def _check_supervisor(place: str, tree: TreeSpec) -> None:
    """What concerns the children together; those that are trees have checked themselves."""
    _check_kind(f"{place}.supervisor", tree.supervisor, SupervisorSpec)
    _check_kind(f"{place}.children", tree.children, tuple)
    names: dict[str, int] = {}
    significant = 0
    for index, child in enumerate(tree.children):
        where = f"{place}.children[{index}]"
        if not isinstance(child, ActorSpec | TreeSpec | RemoteChildSpec):
            _refuse(where, f"is {child!r}", "It must be an ActorSpec or a TreeSpec.")
        _check_name(where, child.name)
        if child.name in names:
            _refuse(
                f"{where}.name",
                f"is {child.name!r}, the name of children[{names[child.name]}]",
                "Give siblings different names.",
            )
        names[child.name] = index
        child_spec(child, child.name, where)
        if child.significant and tree.supervisor.auto_shutdown is AutoShutdown.NEVER:
            _refuse(
                f"{where}.significant",
                f"is set, but {place}.supervisor.auto_shutdown is never",
                "Set auto_shutdown, or leave the child's significant unset.",
            )
        significant += child.significant
    if tree.supervisor.auto_shutdown is not AutoShutdown.NEVER and not significant:
        _refuse(
            f"{place}.supervisor.auto_shutdown",
            f"is {tree.supervisor.auto_shutdown.value}, but no child is significant",
            "Mark a child as significant, or set auto_shutdown to never.",
        )
    if len(tree.children) > tree.supervisor.children_max:
        _refuse(
            f"{place}.supervisor.children_max",
            f"is {tree.supervisor.children_max}, but there are {len(tree.children)} children",
            "Raise it, or spread the children over supervisors.",
        )


def _check_actor(place: str, node: ActorSpec) -> None:
    """Check one worker."""
    made = node.props
    where = f"{place}.actor"
    try:
        behaviour_of(made.actor)
    except SpecError as error:
        raise SpecError(
            f"{where}: {error.message}", advice=error.advice, field=where
        ) from error.__cause__
    _check_kind(f"{place}.offer", node.offer, bool)
    _check_kind(f"{place}.register", node.register, bool)
    _check_kind(f"{place}.placement", node.placement, Placement | None)
    if node.size is not None and (
        type(node.size) is not int or not 1 <= node.size <= TREE_POOL_MAX
    ):
        _refuse(
            f"{place}.size",
            f"is {node.size!r}",
            f"It is None, or the agents of a pool: 1 to {TREE_POOL_MAX:,}.",
        )
    problem = arguments_problem(made.actor, made.args, made.keywords)
    if problem:
        _refuse(
            where,
            f"has arguments that do not fit {problem}",
            f"Write props({made.actor.__qualname__}, ...) with the constructor's arguments.",
        )


def _check_registered(place: str, tree: TreeSpec) -> None:
    taken: dict[str, str] = {}
    for where, node, _ in places(place, tree, 1):
        if isinstance(node, ActorSpec) and node.register:
            if node.name in taken:
                _refuse(
                    f"{where}.register",
                    f"is set for {node.name!r}, which {taken[node.name]} registers too",
                    "A registered name is unique in the system: use it once.",
                )
            taken[node.name] = where
