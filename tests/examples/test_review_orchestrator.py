"""The parts of the review's job, each for itself: nothing is lost, doubled or invented."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.core.errors import RequestRejected, ResultRejected
from callboard.messages.jobs.job import JobContext
from callboard.messages.jobs.plan import Plan
from examples.review.agents import SPECIALISTS, BatchFindings
from examples.review.finding import Finding, Severity
from examples.review.orchestrator import (
    BATCH_BYTES,
    BY_FILE,
    SMALL_TREE_FILES,
    ReviewTree,
    by_file,
    by_size,
    every_file_was_seen,
    findings_are_in_the_tree,
    remaining_files,
    root_is_a_folder,
    route,
    settle,
    specialists_exist,
    with_sizes,
)
from examples.review.tree import SourceTree

NAMES = tuple(SPECIALISTS)
CONTEXT = JobContext("1", "review", {}, 0.0, lambda _: True)


def request(*sizes_bytes: int, specialists: tuple[str, ...] = NAMES) -> ReviewTree:
    paths = tuple(f"file{number}.py" for number in range(len(sizes_bytes)))
    return ReviewTree(
        root="/", paths=paths, specialists=specialists, sizes_bytes=tuple(sizes_bytes)
    )


def finding(path: str, agent: str = "text") -> Finding:
    return Finding(
        path=path,
        line=1,
        topic="some-topic",
        rule=f"{agent}/rule",
        message="A message",
        severity=Severity.LOW,
        confidence=0.5,
        agents=(agent,),
    )


def answer(
    specialist: str, *reviewed: str, left: tuple[str, ...] = (), found: tuple[Finding, ...] = ()
) -> BatchFindings:
    return BatchFindings(
        specialist=specialist, reviewed=reviewed, left=left, findings=found, busy_s=0.1
    )


def tree(*paths: str) -> SourceTree:
    return SourceTree(Path("/"), "tree", tuple(sorted(paths)), lines=1, size_bytes=1)


@given(st.lists(st.integers(0, 2 * BATCH_BYTES), max_size=60))
def test_each_specialist_gets_each_file_once_in_batches_of_bounded_size(sizes: list[int]) -> None:
    asked = request(*sizes)
    size_of = dict(zip(asked.paths, sizes, strict=True))
    given_to: dict[str, list[str]] = {name: [] for name in NAMES}
    for sub_task in Plan(by_size(asked)).sub_tasks:
        paths = sub_task.request.paths
        given_to[sub_task.id.partition("/")[0]] += paths
        assert len(paths) == 1 or sum(size_of[path] for path in paths) <= BATCH_BYTES
    assert all(paths == list(asked.paths) for paths in given_to.values())


def test_file_by_file_every_file_is_a_sub_task_of_each_specialist() -> None:
    plan = Plan(by_file(request(10, 20, 30)))
    assert len(plan) == 3 * len(NAMES)
    assert all(len(sub_task.request.paths) == 1 for sub_task in plan.sub_tasks)


def test_more_bytes_and_a_slower_specialist_mean_a_higher_priority() -> None:
    by_id = {sub_task.id: sub_task for sub_task in by_file(request(1_000, 100_000))}
    assert by_id["bandit/1"].priority > by_id["bandit/0"].priority
    assert by_id["bandit/1"].priority > by_id["text/1"].priority


def test_small_trees_are_routed_file_by_file_and_each_request_to_its_own_pool() -> None:
    small, large = request(*[1] * 3), request(*[1] * SMALL_TREE_FILES)
    assert route(small).plan_maker == BY_FILE
    assert route(large).plan_maker is None
    assert route(small).agents["review.find_weaknesses"] == "bandit"
    assert sorted(route(small).agents.values()) == sorted(NAMES)


def test_the_remaining_files_are_one_more_sub_task_until_none_is_left() -> None:
    (sub_task,) = by_size(request(1_000, 1_000, 1_000, specialists=("radon",)))
    first, second, third = sub_task.request.paths
    (rest,) = remaining_files(sub_task, answer("radon", first, left=(second, third)))
    assert rest.request.paths == (second, third)
    assert type(rest.request) is type(sub_task.request)
    assert rest.priority < sub_task.priority
    (last,) = remaining_files(rest, answer("radon", second, left=(third,)))
    assert last.request.paths == (third,)
    assert len({sub_task.id, rest.id, last.id}) == 3
    assert remaining_files(last, answer("radon", third)) == ()


def test_sizes_are_read_and_a_missing_file_has_none(tmp_path: Path) -> None:
    (tmp_path / "here.py").write_bytes(b"x = 1\n")
    asked = ReviewTree(root=str(tmp_path), paths=("gone.py", "here.py"), specialists=NAMES)
    assert with_sizes(asked, CONTEXT).sizes_bytes == (0, 6)


@pytest.mark.parametrize("names", [("bandit", "bandit"), ("bandit", "nobody")])
def test_an_unknown_or_repeated_specialist_is_refused_by_name(names: tuple[str, ...]) -> None:
    with pytest.raises(RequestRejected, match=names[1]):
        specialists_exist(request(specialists=names))


def test_a_root_that_has_gone_is_refused(tmp_path: Path) -> None:
    gone = ReviewTree(root=str(tmp_path / "gone"), paths=(), specialists=NAMES)
    with pytest.raises(RequestRejected, match="not a folder"):
        root_is_a_folder(gone)


def test_complete_answers_pass_the_check() -> None:
    settled = settle([answer(name, "a.py", "b.py") for name in NAMES])
    every_file_was_seen(tree("a.py", "b.py"), settled)


def test_a_file_that_one_specialist_left_out_is_noticed() -> None:
    settled = settle([answer(name, "a.py") for name in NAMES[1:]])
    with pytest.raises(ResultRejected, match=f"{NAMES[0]}: a.py"):
        every_file_was_seen(tree("a.py"), settled)


def test_a_file_that_was_seen_twice_is_noticed() -> None:
    answers = [answer(name, "a.py") for name in NAMES]
    with pytest.raises(ResultRejected, match="seen twice"):
        every_file_was_seen(tree("a.py"), settle([*answers, answers[0]]))


def test_a_finding_about_a_file_of_no_tree_is_noticed() -> None:
    settled = settle([answer("text", "a.py", found=(finding("elsewhere.py"),))])
    with pytest.raises(ResultRejected, match=r"elsewhere\.py"):
        findings_are_in_the_tree(tree("a.py"), settled)


def test_agents_that_say_the_same_are_settled_into_one_finding() -> None:
    answers = [
        answer("text", "a.py", found=(finding("a.py", "text"),)),
        answer("ruff", "a.py", found=(finding("a.py", "ruff"),)),
    ]
    (settled,) = settle(answers).findings
    assert settled.agents == ("ruff", "text")
    assert settle(answers[::-1]).findings == (settled,)
