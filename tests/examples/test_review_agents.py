"""The specialists as actors: each with a contract of its own, and working in slices."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from callboard.actors.kernel.actor import behaviour_of
from callboard.actors.kernel.context import Context
from examples.review.agents import SPECIALISTS, BatchFindings, Specialist
from examples.review.analysers import ANALYSER_NAMES
from examples.review.batch import analyse_batch

FILES = {"a.py": "import os\n", "b.py": "eval('1')\n", "c.py": "def f(a=[]): pass\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def context(*, cancelled: bool = False) -> Context:
    event = threading.Event()
    if cancelled:
        event.set()
    return cast("Context", SimpleNamespace(cancelled=event))


def ask(agent: Specialist, folder: Path, *paths: str, slice_s: float) -> BatchFindings:
    work = agent.request(root=str(folder), paths=paths, slice_s=slice_s)
    return agent.analyse(work, context())


def test_there_is_one_agent_for_every_analyser() -> None:
    assert sorted(SPECIALISTS) == list(ANALYSER_NAMES)


def test_no_two_specialists_take_the_same_contract() -> None:
    agents = SPECIALISTS.values()
    taken = [contract for agent in agents for contract in behaviour_of(agent).handlers]
    assert set(taken) == {agent.request for agent in agents}
    assert len(taken) == len(SPECIALISTS)


@pytest.mark.parametrize("name", ANALYSER_NAMES)
def test_an_agent_has_the_findings_of_its_analyser_for_any_number_of_slices(
    name: str, folder: Path
) -> None:
    agent = SPECIALISTS[name]()
    whole = ask(agent, folder, *FILES, slice_s=60.0)
    assert (whole.reviewed, whole.left) == (tuple(FILES), ())
    assert whole.findings == analyse_batch(agent._analyser, folder, tuple(FILES))
    left, found = tuple(FILES), list[Any]()
    while left:
        part = ask(agent, folder, *left, slice_s=0.0)
        assert part.reviewed + part.left == left
        left, found = part.left, [*found, *part.findings]
    assert tuple(found) == whole.findings


def test_an_agent_whose_time_is_over_finishes_one_file_all_the_same(folder: Path) -> None:
    part = ask(SPECIALISTS["hygiene"](), folder, *FILES, slice_s=0.0)
    assert (part.reviewed, part.left) == (("a.py",), ("b.py", "c.py"))


def test_an_agent_of_a_cancelled_ask_analyses_nothing(folder: Path) -> None:
    agent = SPECIALISTS["hygiene"]()
    work = agent.request(root=str(folder), paths=tuple(FILES))
    assert agent.analyse(work, context(cancelled=True)).reviewed == ()
