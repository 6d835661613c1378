"""Ray processes without an owner, in made-up process trees and on this machine."""

import os

from callboard.runtime.doctor.check import Status
from callboard.runtime.doctor.leftovers import (
    STRAYS_SHOWN_MAX,
    ProcessSeen,
    check_strays,
    find_strays,
    processes_of,
    seen_processes,
)

INIT = ProcessSeen(1, 0, "systemd", "/sbin/init")
DRIVER = ProcessSeen(100, 1, "python3", "python3 driver.py")
SITE = "/venv/lib/python3.11/site-packages"


def raylet(pid: int, parent_pid: int) -> ProcessSeen:
    command = f"{SITE}/ray/core/src/ray/raylet/raylet --raylet_socket_name=..."
    return ProcessSeen(pid, parent_pid, "raylet", command)


def worker(pid: int, parent_pid: int) -> ProcessSeen:
    return ProcessSeen(pid, parent_pid, "ray::IDLE", "ray::IDLE")


def test_a_living_driver_owns_what_it_started() -> None:
    assert find_strays([INIT, DRIVER, raylet(101, 100), worker(102, 101)]) == []


def test_the_remains_of_a_killed_driver_are_found_once_at_their_root() -> None:
    left = raylet(101, 1)
    assert find_strays([INIT, worker(102, 101), left]) == [left]


def test_a_parent_that_is_gone_makes_a_stray() -> None:
    assert find_strays([INIT, worker(102, 4711)]) == [worker(102, 4711)]


def test_a_session_manager_that_adopts_is_no_owner() -> None:
    manager = ProcessSeen(50, 1, "systemd", "/lib/systemd/systemd --user")
    assert find_strays([INIT, manager, raylet(101, 50)]) == [raylet(101, 50)]


def test_a_container_whose_first_process_is_the_driver_has_no_strays() -> None:
    driver = ProcessSeen(1, 0, "python3", "python3 driver.py")
    assert find_strays([driver, raylet(7, 1)]) == []


def test_a_container_whose_first_process_is_a_shell_adopts() -> None:
    shell = ProcessSeen(1, 0, "sleep", "sleep infinity")
    assert find_strays([shell, raylet(7, 1)]) == [raylet(7, 1)]


def test_python_helpers_of_ray_are_known_by_their_paths() -> None:
    dashboard = ProcessSeen(9, 1, "python3", f"python3 -u {SITE}/ray/dashboard/dashboard.py")
    unrelated = ProcessSeen(10, 1, "python3", "python3 -u /projects/ray_tracer.py")
    assert find_strays([INIT, dashboard, unrelated]) == [dashboard]


def test_the_finding_names_ids_and_is_cut_at_its_limit() -> None:
    check = check_strays([INIT, *(raylet(pid, 1) for pid in range(200, 220))])
    assert check.status is Status.WARN
    assert "200 raylet" in check.found
    assert f"and {20 - STRAYS_SHOWN_MAX} more" in check.found
    assert "ray stop" in check.advice


def test_a_cluster_without_a_parent_is_no_stray() -> None:
    session = "session_2026-11-30_13-47-42_919126_22805"
    head = ProcessSeen(
        7, 1, "gcs_server", f"{SITE}/ray/core/src/ray/gcs/gcs_server --session-name={session}"
    )
    node = ProcessSeen(
        8, 1, "raylet", f"{SITE}/ray/core/src/ray/raylet/raylet --session-name={session}"
    )
    client = ProcessSeen(
        9, 1, "python3", "python3 -m ray.util.client.server --address=192.0.2.10:6379"
    )
    other = raylet(200, 1)
    me = ProcessSeen(300, 1, "callboard", "callboard doctor --address 192.0.2.10:6379")
    seen = [INIT, head, node, worker(10, 8), client, other, worker(201, 200), me]
    own = processes_of(seen, {session, "192.0.2.10:6379"})
    assert own == {7, 8, 9, 10}
    assert find_strays(seen, own) == [other]
    assert check_strays(seen[:5], own).status is Status.OK


def test_none_is_ok() -> None:
    assert check_strays([INIT, DRIVER]).status is Status.OK


def test_this_process_is_seen_with_its_parent() -> None:
    mine = next(seen for seen in seen_processes() if seen.pid == os.getpid())
    assert mine.parent_pid == os.getppid()
    assert not mine.is_ray
