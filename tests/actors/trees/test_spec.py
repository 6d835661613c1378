"""Wrong trees: the constructor refuses them, and the error names the place."""

import pickle
import threading
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from callboard.actors.kernel.actor import Actor
from callboard.actors.kernel.props import props
from callboard.actors.kernel.spawnable import Props
from callboard.actors.trees import spec
from callboard.actors.trees.spec import TREE_DEPTH_MAX, ActorSpec, TreeSpec, check_ships, walk
from callboard.messages.control.placement import Placement
from callboard.messages.control.spec import AutoShutdown, Restart, Strategy, SupervisorSpec
from callboard.messages.core.errors import SpecError


class Worker(Actor):
    def __init__(self, path: str = "", *, size: int = 1) -> None:
        self.made_of = (path, size)


class Needy(Actor):
    def __init__(self, path: str) -> None:
        self.path = path


ANY = SupervisorSpec(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)


def tree(*children: Any, **options: Any) -> TreeSpec:
    return TreeSpec("reviews", children=children, **options)


def worker(name: str = "w", **options: Any) -> ActorSpec:
    return ActorSpec(name, **{"actor": Worker, **options})


def deep(levels: int) -> TreeSpec:
    found = TreeSpec("leaf")
    for _ in range(levels - 1):
        found = TreeSpec("node", (found,))
    return found


WRONG: dict[str, tuple[str, Callable[[], object]]] = {
    "name_empty": ("TreeSpec.name", lambda: TreeSpec("")),
    "name_with_slash": ("TreeSpec.name", lambda: TreeSpec("a/b")),
    "child_name_no_text": ("reviews.children[0].name", lambda: tree(worker(7))),  # type: ignore[arg-type]
    "child_name_twice": ("reviews.children[1].name", lambda: tree(worker("a"), worker("a"))),
    "child_is_no_spec": ("reviews.children[1]", lambda: tree(worker(), Worker)),
    "children_no_tuple": ("reviews.children", lambda: TreeSpec("reviews", [worker()])),  # type: ignore[arg-type]
    "supervisor": ("reviews.supervisor", lambda: tree(supervisor=Strategy.ONE_FOR_ALL)),
    "restart": ("reviews.children[0].restart", lambda: tree(worker(restart="always"))),
    "stop_timeout": (
        "reviews.children[2].stop_timeout",
        lambda: tree(worker("a"), worker("b"), worker("c", stop_timeout=5)),
    ),
    "own_stop_timeout": ("reviews.stop_timeout", lambda: tree(stop_timeout=1.0)),
    "own_restart": ("reviews.restart", lambda: tree(restart=None)),
    "nested": (
        "workers.children[0].stop_timeout",
        lambda: tree(TreeSpec("workers", (worker(stop_timeout=None),))),
    ),
    "backoff": ("reviews.children[0].backoff", lambda: tree(worker(backoff=1.0))),
    "size": ("reviews.children[0].size", lambda: tree(worker(size=0))),
    "size_no_number": ("reviews.children[0].size", lambda: tree(worker(size=True))),
    "actor": ("reviews.children[0].actor", lambda: tree(ActorSpec("w", dict))),  # type: ignore[arg-type]
    "args_missing": ("reviews.children[0].actor", lambda: tree(worker(actor=Needy))),
    "args_too_many": (
        "reviews.children[0].actor",
        lambda: tree(worker(actor=Props(Worker, (1, 2)))),
    ),
    "keyword_unknown": (
        "reviews.children[0].actor",
        lambda: tree(worker(actor=Props(Worker, (), {"color": 1}))),
    ),
    "offer": ("reviews.children[0].offer", lambda: tree(worker(offer="yes"))),
    "register": ("reviews.children[0].register", lambda: tree(worker(register=1))),
    "placement": ("reviews.children[0].placement", lambda: tree(worker(placement="gpu"))),
    "own_placement": ("reviews.placement", lambda: tree(placement=2)),
    "registered_twice": (
        "reviews.children[1].children[0].register",
        lambda: tree(worker("a", register=True), TreeSpec("more", (worker("a", register=True),))),
    ),
    "significant_permanent": (
        "reviews.children[0].significant",
        lambda: tree(worker(significant=True), supervisor=ANY),
    ),
    "significant_never": (
        "reviews.children[0].significant",
        lambda: tree(worker(significant=True, restart=Restart.TRANSIENT)),
    ),
    "auto_shutdown_without_significant": (
        "reviews.supervisor.auto_shutdown",
        lambda: tree(worker(), supervisor=ANY),
    ),
    "children_max": (
        "reviews.supervisor.children_max",
        lambda: tree(worker("a"), worker("b"), supervisor=SupervisorSpec(children_max=1)),
    ),
    "too_deep": ("node" + ".children[0]" * TREE_DEPTH_MAX, lambda: deep(TREE_DEPTH_MAX + 1)),
}


@pytest.mark.parametrize(("place", "make"), WRONG.values(), ids=WRONG)
def test_wrong_tree_is_refused_with_its_place(place: str, make: Callable[[], object]) -> None:
    with pytest.raises(SpecError) as refused:
        make()
    assert refused.value.details["field"] == place
    assert place in refused.value.message
    assert refused.value.advice


def test_too_many_nodes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "TREE_NODES_MAX", 5)
    tree(TreeSpec("s", (worker("a"), worker("b"))), worker())
    with pytest.raises(SpecError, match="at most 5") as refused:
        tree(TreeSpec("s", (worker("a"), worker("b"))), worker("c"), worker("d"))
    assert refused.value.details["field"] == "reviews.children"


@pytest.mark.parametrize(
    ("place", "options"),
    [
        (
            "reviews.children[1].children[0].actor.args[0]",
            {"actor": Props(Worker, (threading.Lock(),))},
        ),
        (
            "reviews.children[1].children[0].actor.keywords['path']",
            {"actor": Props(Worker, (), {"path": open})},
        ),
    ],
    ids=["args", "keywords"],
)
def test_argument_that_cannot_be_pickled_is_named(place: str, options: Any) -> None:
    class Picky:
        @staticmethod
        def dumps(value: Any) -> bytes:
            if value is open:
                raise TypeError("no")
            return bytes(cloudpickle.dumps(value))

        loads = staticmethod(pickle.loads)

    with pytest.raises(SpecError) as refused:
        check_ships(tree(worker("a"), TreeSpec("workers", (worker(**options),))), Picky())
    assert refused.value.details["field"] == place
    assert place in refused.value.message


def test_deepest_tree_is_accepted() -> None:
    assert sum(1 for _ in walk(deep(TREE_DEPTH_MAX))) == TREE_DEPTH_MAX


def test_walk_gives_each_node_before_its_children() -> None:
    found = tree(TreeSpec("s", (worker("a"), worker("b"))), worker("c"), placement=Placement())
    assert [path for path, _ in walk(found)] == ["", "s", "s/a", "s/b", "c"]


def test_specs_are_frozen_and_travel() -> None:
    found = tree(worker("a", actor=props(Worker, "x"), size=3), TreeSpec("s"))
    with pytest.raises(AttributeError):
        found.name = "other"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(found)) == found
