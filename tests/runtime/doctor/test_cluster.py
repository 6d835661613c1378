"""What the head of a cluster says, and whether a driver here can join it."""

from dataclasses import replace

import pytest

from callboard.messages.core.errors import CallboardError, ClusterError, ClusterUnreachable
from callboard.runtime.doctor.check import Check, Status
from callboard.runtime.doctor.cluster import (
    NODES_SHOWN_MAX,
    ClusterSeen,
    Here,
    NodeSeen,
    Token,
    address_check,
    check_join,
    node_titles,
    token_check,
)
from callboard.runtime.doctor.network import Endpoint

ENDPOINT = Endpoint("192.0.2.10", 6379)
HEAD = NodeSeen("aa" * 28, "192.0.2.10", "head", "/tmp/ray/session_1")
WORKER = NodeSeen("bb" * 28, "192.0.2.11", "worker", "/tmp/ray/session_1")
OPEN = Token(wanted=False)
SEEN = ClusterSeen(ENDPOINT, OPEN, (HEAD, WORKER), "2.60.0", "3.11.7")
HERE = Here("", {HEAD.id}, {"192.0.2.10"}, "2.60.0", "3.11.7")


def refusal(seen: ClusterSeen, here: Here) -> CallboardError:
    with pytest.raises(ClusterError) as caught:
        check_join(seen, here)
    assert caught.value.details["address"] == str(ENDPOINT)
    assert caught.value.advice
    return caught.value


def test_a_driver_on_a_node_joins() -> None:
    check_join(SEEN, HERE)
    check_join(SEEN, replace(HERE, node_ids={WORKER.id, "another cluster's"}))
    check_join(replace(SEEN, ray="", python=""), HERE)  # The head has not written them yet.


def test_a_driver_elsewhere_learns_the_nodes_and_how_to_join() -> None:
    error = refusal(SEEN, replace(HERE, node_ids=set(), addresses={"192.0.2.99"}))
    assert isinstance(error, ClusterUnreachable)
    assert "head (192.0.2.10), worker (192.0.2.11)" in error.message
    assert "ray start --address 192.0.2.10:6379 --num-cpus 0 --block" in error.advice
    assert "RAY_AUTH_MODE" not in error.advice
    guarded = replace(SEEN, token=Token(wanted=True, shown=True, taken=True))
    error = refusal(guarded, replace(HERE, node_ids=set(), addresses=set()))
    assert "RAY_AUTH_MODE=token ray start" in error.advice


def test_a_driver_in_another_container_of_the_node_learns_it() -> None:
    error = refusal(SEEN, replace(HERE, node_ids=set()))
    assert "another container" in error.advice
    assert "192.0.2.10" in error.advice


def test_a_long_list_of_nodes_is_cut() -> None:
    nodes = tuple(NodeSeen(str(n), f"192.0.2.{n}", f"n{n}") for n in range(20))
    error = refusal(replace(SEEN, nodes=nodes), HERE)
    assert f"and {20 - NODES_SHOWN_MAX} more" in error.message
    assert "none that lives" in refusal(replace(SEEN, nodes=()), HERE).message


@pytest.mark.parametrize(
    ("token", "mode", "said"),
    [
        (Token(wanted=True), "", "there is none here"),
        (Token(wanted=True), "token", "there is none here"),
        (Token(wanted=True, shown=True), "", "refuses the one that is here"),
        (Token(wanted=True, shown=True), "token", "refuses the one that is here"),
        (Token(wanted=True, shown=True, taken=True), "disabled", "RAY_AUTH_MODE=disabled"),
    ],
)
def test_a_token_that_does_not_fit_is_named_before_the_nodes(
    token: Token, mode: str, said: str
) -> None:
    error = refusal(replace(SEEN, token=token, nodes=()), replace(HERE, mode=mode))
    assert isinstance(error, ClusterUnreachable)
    assert "wants a token" in error.message
    assert said in error.message


@pytest.mark.parametrize("mode", ["", "token"])
def test_a_token_that_the_cluster_takes_is_fine(mode: str) -> None:
    token = Token(wanted=True, shown=True, taken=True)
    check_join(replace(SEEN, token=token), replace(HERE, mode=mode))


@pytest.mark.parametrize("shown", [True, False])
def test_a_cluster_without_a_token_takes_drivers_that_do_not_insist_on_one(*, shown: bool) -> None:
    seen = replace(SEEN, token=Token(wanted=False, shown=shown))
    for mode in ("", "disabled"):
        check_join(seen, replace(HERE, mode=mode))
    error = refusal(seen, replace(HERE, mode="token"))
    assert isinstance(error, ClusterUnreachable)
    assert "RAY_AUTH_MODE=token is set here, but the cluster at " in error.message


def test_another_ray_or_python_is_named_with_both_versions() -> None:
    error = refusal(replace(SEEN, ray="2.54.1"), HERE)
    assert "runs Ray 2.54.1, and this driver 2.60.0" in error.message
    error = refusal(replace(SEEN, python="3.11.9"), HERE)
    assert "runs Python 3.11.9, and this driver 3.11.7" in error.message
    check_join(replace(SEEN, python="3.11.9"), replace(HERE, python_parts=2))
    assert (
        "3.12.7" in refusal(replace(SEEN, python="3.12.7"), replace(HERE, python_parts=2)).message
    )


def test_titles_are_unique_and_short_where_they_can_be() -> None:
    twin = replace(WORKER, id="cc" * 28)
    assert node_titles([HEAD, WORKER]) == {
        HEAD.id: "head (192.0.2.10)",
        WORKER.id: "worker (192.0.2.11)",
    }
    titles = node_titles([HEAD, WORKER, twin])
    assert titles[HEAD.id] == "head (192.0.2.10)"
    assert titles[twin.id] == "worker (192.0.2.11) [cccccccc]"
    assert node_titles([NodeSeen("dd", "192.0.2.12", "")]) == {"dd": "192.0.2.12"}


def test_the_finding_about_an_address_names_the_node_of_this_machine() -> None:
    check, seen = address_check(lambda: (SEEN, HERE))
    assert (check.status, seen) == (Status.OK, SEEN)
    assert check.found == "192.0.2.10:6379 answers: 2 nodes, here head (192.0.2.10)"


def test_a_cluster_that_cannot_be_joined_is_still_known() -> None:
    check, seen = address_check(lambda: (SEEN, replace(HERE, node_ids=())))
    assert (check.status, seen) == (Status.FAIL, SEEN)

    def nothing() -> tuple[ClusterSeen, Here]:
        raise ClusterUnreachable("no cluster answers.", advice="Start one.")

    check, seen = address_check(nothing)
    assert (check.status, seen) == (Status.FAIL, None)


def test_the_token_is_judged_by_what_the_cluster_wants() -> None:
    fine = Check("token", Status.OK, "in RAY_AUTH_TOKEN")
    taken = token_check(Token(wanted=True, shown=True, taken=True), fine, "")
    assert (taken.status, "takes it" in taken.found) == (Status.OK, True)
    assert token_check(Token(wanted=False), fine, "token").status is Status.WARN
    assert "everybody" in token_check(Token(wanted=False), fine, "disabled").found
    missing = Check("token", Status.FAIL, "none", "Copy it.")
    assert token_check(Token(wanted=True), missing, "token") is missing


def test_marks_tell_one_cluster_from_another() -> None:
    assert SEEN.marks == {str(ENDPOINT), HEAD.id, WORKER.id, "session_1"}
    assert "" not in replace(SEEN, nodes=(replace(HEAD, session=""),)).marks
