"""`callboard tree` shows the systems of other processes."""

import json
import os
import signal
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from callboard import Actor, Contract, handler
from callboard.actors.trees.spec import ActorSpec, TreeSpec
from callboard.messages.control.control_plane import FIRST_DRIVER_SLOT
from callboard.messages.control.placement import Placement
from callboard.messages.control.views import (
    ActorView,
    CallboardView,
    DriverView,
    HostView,
    StandbyView,
)
from callboard.runtime.admin.unix_socket import SYSTEM, admin_sockets
from callboard.runtime.api.start import start as start_system
from callboard.runtime.cli.drawing import draw
from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.cli.sources import Snapshot

Run = Callable[..., Any]


class Nothing(Contract, name="tests.tree.nothing"):
    """A message."""


class Idle(Actor):
    """An actor that is there."""

    @handler
    async def nothing(self, message: Nothing) -> None:
        pass


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An own folder for admin sockets, which hides other systems of this machine.

    It depends on `tmp_path`: pytest would otherwise put that into it for the whole session.
    """
    with tempfile.TemporaryDirectory(prefix="cb") as folder:  # A socket's path must be short.
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


def socket_folder(temporary: Path) -> Path:
    folder = temporary / f"callboard-{os.getuid()}"
    folder.mkdir(mode=0o700)
    return folder


# --- running systems ------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["inline", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_running_system_is_seen_from_another_process(
    engine: str, callboard: Run, start: Run, temporary: Path
) -> None:
    system = start(
        "run", "jobs:stands", "--engine", engine, "--hosts", "2", "--name", "a name of any kind"
    )
    system.wait_for("up")
    found = json.loads(callboard("tree", "--json").out)["systems"]
    drawn = callboard("tree")
    ended = system.end(text="\n")
    assert ended.code == ExitCode.OK, ended.err

    assert [(one["name"], one["pid"]) for one in found] == [("a name of any kind", system.pid)]
    hosts = found[0]["hosts"]
    assert [host["name"] for host in hosts] == ["driver", "host-1", "host-2"]
    assert len({host["pid"] for host in hosts}) == (1 if engine == "inline" else 3)
    actors = {actor["kind"]: actor for host in hosts for actor in host["members"]}
    assert (actors["Referee"]["name"], actors["Referee"]["restarts"]) == ("referee", 1)
    assert "on purpose" in actors["Referee"]["last_failure"]
    assert actors["Player"]["children"] in {1, 2}
    assert sum(sum(host["dead_letters"].values()) for host in hosts) == 1

    assert drawn.code == ExitCode.OK
    for text in ("a name of any kind", "host-2", "Referee referee", "1 restart", "dead letters"):
        assert text in " ".join(drawn.out.split()), drawn.out
    assert not list(temporary.rglob("*.sock")), "the socket outlived its system"


def test_nothing_running_exits_1_with_advice(callboard: Run) -> None:
    ended = callboard("tree")
    assert ended.code == ExitCode.FAILED
    assert "callboard run" in ended.err
    assert json.loads(callboard("tree", "--json").out) == {"systems": []}


def test_watching_ends_with_ctrl_c_and_that_is_no_failure(start: Run) -> None:
    system = start("run", "jobs:stands", "--engine", "inline")
    system.wait_for("up")
    watch = start("tree", "--watch", "--json")
    watch.wait_for(str(system.pid))
    watch.wait_for(str(system.pid))
    watch.popen.send_signal(signal.SIGINT)
    assert watch.end(5.0).code == ExitCode.OK
    assert system.end(text="\n").code == ExitCode.OK


# --- sockets that lead nowhere --------------------------------------------------------


def test_the_leftovers_of_a_killed_driver_are_swept(
    temporary: Path, start: Run, callboard: Run
) -> None:
    system = start("run", "jobs:stands", "--engine", "inline")
    system.wait_for("up")
    assert len(admin_sockets(SYSTEM)) == 1
    system.popen.kill()
    system.end()
    assert callboard("tree").code == ExitCode.FAILED
    assert not list(temporary.rglob("*.sock"))


def test_a_process_that_took_over_the_number_is_no_system(temporary: Path, callboard: Run) -> None:
    stale = socket_folder(temporary) / f"0-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(stale))
    assert callboard("tree").code == ExitCode.FAILED


def test_an_invalid_answer_is_reported(temporary: Path, start: Run, callboard: Run) -> None:
    path = socket_folder(temporary) / f"0-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        tree = start("tree")
        connection, _ = server.accept()
        with connection:
            connection.recv(1_000)
            connection.sendall(b"[1, 2]\n")
        ended = tree.end()
    assert ended.code == ExitCode.FAILED
    assert str(os.getpid()) in ended.out
    assert "Traceback" not in ended.err


def test_a_folder_that_others_may_enter_is_not_believed(temporary: Path, callboard: Run) -> None:
    folder = socket_folder(temporary)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / f"0-{os.getpid()}.sock"))
        server.listen()
        folder.chmod(stat.S_IRWXU | stat.S_IRWXO)
        assert admin_sockets(SYSTEM) == []
        folder.chmod(stat.S_IRWXU)
        assert len(admin_sockets(SYSTEM)) == 1


# --- drawing --------------------------------------------------------------------------


def drawn(snapshot: Snapshot[CallboardView]) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(draw(snapshot))
    return capture.get()


def host_view(**changes: Any) -> HostView:
    fields: dict[str, Any] = {
        "slot": 1,
        "epoch": 1,
        "name": "host-1",
        "pid": 7,
        "node": "here",
        "actors": 0,
        "handled": 0,
        "pending_asks": 0,
        "dead_letters": {},
        "memory_bytes": 0,
    }
    return HostView(**(fields | changes))


def system_view(*hosts: HostView, restarts: int = 0) -> Snapshot[CallboardView]:
    driver = host_view(slot=0, name="driver")
    return Snapshot(
        1, CallboardView(name="s", hosts=(driver, *hosts), restarts=restarts, standbys=1)
    )


def test_a_host_that_is_down_and_replacements_are_drawn() -> None:
    down = host_view(pid=0, actors=3, state="down", problem="killed: signal 9")
    text = drawn(system_view(down, restarts=2))
    assert "host-1  down (killed: signal 9)" in text
    assert "3 actors waiting" in text
    assert "2 hosts replaced" in text


def test_a_host_that_hangs_is_drawn_with_its_deadline() -> None:
    text = drawn(
        system_view(host_view(pid=0, state="silent", problem="it has not answered for 2 s"))
    )
    assert "host-1  silent (it has not answered for 2 s)" in text


def actor_view(**changes: Any) -> ActorView:
    fields: dict[str, Any] = {
        "cell": 1,
        "name": "$1",
        "kind": "Parent",
        "lifecycle": "running",
        "mailbox": 0,
        "incarnation": 1,
        "children": 0,
    }
    return ActorView(**(fields | changes))


def test_actors_that_are_not_shown_are_counted_where_they_are() -> None:
    child = actor_view(cell=9, name="$9", kind="Child", mailbox=1_500)
    parent = actor_view(
        lifecycle="stopping",
        children=5,
        strategy="rest_for_one",
        members=(child,),
        running=2,
        stash=7,
    )
    text = drawn(system_view(host_view(actors=16, top_level=3, members=(parent,))))
    assert "and 2 more actors not shown (--actors)" in text
    assert "and 4 more children not shown (--actors)" in text
    assert "1,500 in its mailbox" in text
    assert "stopping, 2 handlers at work, 7 stashed, 5 children rest_for_one" in text


def test_hidden_actors_are_counted_without_any_shown() -> None:
    assert "3 actors not shown (--actors)" in drawn(system_view(host_view(actors=3, top_level=3)))


def test_a_significant_failure_is_drawn_with_its_age() -> None:
    failed = actor_view(
        restarts=2, significant=True, last_failure="ValueError: no", failed_ago_s=90.0
    )
    text = drawn(system_view(host_view(actors=1, top_level=1, members=(failed,))))
    assert "significant, 2 restarts  1 min 30 s ago: ValueError: no" in text


def test_markup_in_names_is_text_and_control_characters_are_not_printed() -> None:
    text = drawn(system_view(host_view(name="[bold]x[/]\x1b[2J")))
    assert "[bold]x[/]·[2J" in text


# --- placed children --------------------------------------------------------------------


def placed_children(**remote_child: Any) -> tuple[HostView, HostView]:
    """A tree on host-1 with the children a, b on host-2, and c; and host-2."""
    a = actor_view(cell=2, name="a", kind="Child")
    proxy = actor_view(
        cell=3, name="b", kind="Child", runs_on=2, runs_as=8, restarts=3, significant=True
    )
    c = actor_view(cell=4, name="c", kind="Child")
    tree = actor_view(cell=1, name="t", kind="Supervisor", children=3, members=(a, proxy, c))
    there = actor_view(cell=8, name="b", kind="Child", path="/t/b", **remote_child)
    holder = actor_view(
        cell=7,
        name="t",
        kind="Supervisor",
        is_remote_child_holder=True,
        children=1,
        members=(there,),
    )
    return (
        host_view(actors=4, top_level=1, members=(tree,)),
        host_view(slot=2, name="host-2", actors=2, top_level=1, members=(holder,)),
    )


def test_a_placed_child_is_drawn_with_its_tree_and_not_where_its_holder_is() -> None:
    below = actor_view(cell=9, name="d", kind="Below")
    hosts = placed_children(mailbox=12, children=1, members=(below,), restarts=99)
    lines = [line.strip() for line in drawn(system_view(*hosts)).splitlines()]
    kinds = [line for line in lines if "Child" in line or "Below" in line or "Super" in line]
    assert [next(name for name in "tabdc" if f" {name}  " in line) for line in kinds] == [
        "t", "a", "b", "d", "c",
    ]  # fmt: skip
    b = next(line for line in kinds if " b  " in line)
    assert "running on host-2, 12 in its mailbox" in b
    assert "significant, 3 restarts" in b, "its supervisor counts, not its holder"
    assert "host-2" in lines[-1], "nothing below the host that it runs on"
    assert not any("not shown" in line for line in lines)


def test_a_placed_child_on_a_lost_host_is_drawn_as_its_supervisor_knows_it() -> None:
    home, _ = placed_children()
    down = host_view(slot=2, name="host-2", pid=0, actors=2, state="down", problem="killed")
    assert "Child b  running on host-2 (down), significant, 3 restarts" in drawn(
        system_view(home, down)
    )


def test_a_placed_child_whose_supervisor_is_not_seen_is_drawn_where_it_runs() -> None:
    _, there = placed_children(mailbox=5)
    silent = host_view(pid=0, state="silent", problem="it has not answered for 2 s")
    text = drawn(system_view(silent, there))
    assert "Child /t/b  running, 5 in its mailbox" in text
    assert "Supervisor" not in text


async def test_placed_children_of_a_running_tree_are_drawn_in_their_order() -> None:
    inner = TreeSpec("s", (ActorSpec("c", Idle), ActorSpec("d", Idle, placement=Placement(1))))
    wanted = TreeSpec(
        "t",
        (
            ActorSpec("a", Idle),
            ActorSpec("b", Idle, placement=Placement(2)),
            replace(inner, placement=Placement(2)),
            ActorSpec("e", Idle),
        ),
        placement=Placement(1),
    )
    async with start_system(engine="inline", hosts=2, standbys=0) as system:
        await system.start_tree(wanted)
        text = drawn(Snapshot(1, await system.view()))
    lines = [line for line in text.splitlines() if "Idle" in line or "Supervisor" in line]
    assert [line.split("── ")[1].rstrip() for line in lines] == [
        "Supervisor t  running, 4 children one_for_one",
        "Idle a  running",
        "Idle b  running on host-2",
        "Supervisor s  running on host-2, 2 children one_for_one",
        "Idle c  running",
        "Idle d  running on host-1",
        "Idle e  running",
    ]


def test_standbys_and_attached_drivers_are_named_as_such() -> None:
    view = system_view(host_view()).view
    assert view is not None
    waiting = (
        StandbyView(name="s-standby-3", pid=77, is_ready=True),
        StandbyView(name="s-standby-4", pid=78, is_ready=False),
    )
    drivers = (DriverView(slot=FIRST_DRIVER_SLOT + 5, name="main.py"),)
    shown = view.model_copy(update={"standby_processes": waiting, "drivers": drivers})
    text = drawn(Snapshot(1, shown))
    assert "s-standby-3  standby, process 77, waits for a host to fail" in text
    assert "s-standby-4  standby, process 78, loads its code" in text
    assert "1 attached driver" in text


async def test_a_view_names_its_standbys() -> None:
    async with start_system(engine="inline", hosts=2, standbys=1, name="s") as system:
        view = await system.view()
    assert [standby.name for standby in view.standby_processes] == ["s-standby-3"]
    assert view.drivers == ()
