"""Rows of Ray's list of nodes become nodes of the plan."""

from callboard.messages.control.nodes import NO_DEADLINE, Node
from callboard.runtime.engines.ray.nodes import node_of

ROW = {
    "NodeID": "ab",
    "NodeName": "192.0.2.7",
    "Alive": True,
    "Resources": {"CPU": 4.0, "memory": 1.0},
}


def test_a_node_has_its_cpus_and_its_state() -> None:
    assert node_of(ROW, {}, 0.0) == Node("ab", "192.0.2.7", 4.0)
    assert node_of({**ROW, "Alive": False, "Resources": {}}, {}, 0.0) == Node(
        "ab", "192.0.2.7", 0.0, is_alive=False
    )


def test_a_deadline_is_the_time_until_it() -> None:
    assert node_of(ROW, {"ab": 12_000}, 2_000.0).drains_in_s == 10.0
    assert node_of(ROW, {"ab": 1_000}, 2_000.0).drains_in_s == 0.0
    assert node_of(ROW, {"ab": 0}, 2_000.0).drains_in_s == NO_DEADLINE
    assert node_of(ROW, {"other": 1_000}, 2_000.0).drains_in_s is None


def test_the_room_of_a_node_is_whole_and_none_without_a_cpu() -> None:
    assert [Node("a", cpus=cpus).room for cpus in (0.0, 0.5, 1.0, 2.9, 64.0)] == [0, 1, 1, 2, 64]
