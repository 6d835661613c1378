"""Each specialist finds what it is for, and keeps quiet about clean code."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.review.analysers import ANALYSER_NAMES, analyser
from examples.review.analysers.protocol import PerFileAnalyser
from examples.review.batch import analyse_batch
from examples.review.finding import Finding, Severity
from examples.review.source import TREE_DEPTH_MAX, SourceFile

Writer = Callable[[str, str | bytes], SourceFile]

CLEAN = '''\
"""A module that has nothing to be ashamed of."""


def doubled(numbers: list[int]) -> list[int]:
    """Each number, twice as large."""
    return [2 * number for number in numbers]
'''

# One line of code each, or a few; with the topic that must come out, and its line.
CASES = [
    ("ruff", "import os\n", "unused-import", 1),
    ("ruff", "def f(a=[]):\n    return a\n", "mutable-default", 1),
    ("ruff", "try:\n    x = 1\nexcept:\n    x = 2\n", "bare-except", 3),
    ("ruff", "print(undefined_name)\n", "undefined-name", 1),
    ("ruff", "assert (1, 'message')\n", "assert-on-tuple", 1),
    ("bandit", "try:\n    x = 1\nexcept Exception:\n    pass\n", "silent-except", 3),
    ("bandit", "import pickle\n\npickle.loads(b'')\n", "unsafe-deserialisation", 3),
    ("bandit", "import subprocess\n\nsubprocess.call('ls', shell=True)\n", "shell-command", 3),
    ("bandit", "import hashlib\nhashlib.md5(b'')\n", "weak-hash", 2),
    ("bandit", "password = 'hunter2hunter2'\n", "hardcoded-secret", 1),
    ("bandit", "eval('1')\n", "eval-used", 1),
    ("vulture", "import os\n", "unused-import", 1),
    ("vulture", "from os import (\n    path,\n    sep,\n)\nprint(sep)\n", "unused-import", 2),
    ("vulture", "def f():\n    return 1\n    print(2)\n", "unreachable", 3),
    ("vulture", "def f():\n    leftover = 1\n", "unused-variable", 2),
    ("vulture", "def _helper():\n    return 1\n", "unused-private", 1),
    ("vulture", "def f(extra):\n    return 1\n", "unused-argument", 1),
    ("radon", "def f(x):\n" + "    if x: pass\n" * 12, "complexity", 1),
    ("radon", "class A:\n  class B:\n    def f(x):\n" + "      if x: pass\n" * 12, "complexity", 3),
    ("radon", "def f(x):\n  def g(y):\n" + "    if y: pass\n" * 12, "complexity", 2),
    ("hygiene", "def f(a=[]):\n    pass\n", "mutable-default", 1),
    ("hygiene", "def f(*, a=dict()):\n    pass\n", "mutable-default", 1),
    ("hygiene", "try:\n    x = 1\nexcept:\n    raise\n", "bare-except", 3),
    ("hygiene", "try:\n    x = 1\nexcept BaseException:\n    x = 2\n", "broad-except", 3),
    ("hygiene", "try:\n    x = 1\nexcept KeyError:\n    pass\n", "silent-except", 3),
    ("hygiene", "list = 1\n", "shadowed-builtin", 1),
    ("hygiene", "f = lambda type: 1\n", "shadowed-builtin", 1),
    ("hygiene", "def f():\n    raise KeyError\n    x = 1\n", "unreachable", 3),
    ("hygiene", "for x in y:\n    if x:\n        break\n        z = 1\n", "unreachable", 4),
    ("hygiene", "x = y == None\n", "none-comparison", 1),
    ("hygiene", "x = None != y\n", "none-comparison", 1),
    ("hygiene", "x = y is 'a'\n", "identity-of-literal", 1),
    ("hygiene", "assert (x, 'message')\n", "assert-on-tuple", 1),
    ("hygiene", "x = {'a': 1, 'b': 2, 'a': 3}\n", "repeated-key", 1),
    ("hygiene", "def f():\n    try:\n        g()\n    finally:\n        return 1\n",
     "jump-in-finally", 5),
    ("hygiene", "def f(x):\n" + "    if x: pass\n" * 13, "too-many-branches", 1),
    ("hygiene", "def f(x):\n" + "    if x and x: pass\n" * 9, "complexity", 1),
    ("hygiene", "class A:\n    def f(self):\n        pass\n", "missing-docstring", 2),
    ("text", "x = 1 \n", "trailing-whitespace", 1),
    ("text", "# TODO: later\n", "reminder", 1),
    ("text", "x = '\u202e'\n", "bidirectional-text", 1),
    ("text", "<<<<<<< ours\nx = 1\n=======\nx = 2\n>>>>>>> theirs\n", "merge-marker", 3),
    ("text", "if x:\n  \ty = 1\n", "mixed-indentation", 2),
    ("text", "API_KEY = 'q8Zr2Lw0Xt7Vb5Nm'\n", "hardcoded-secret", 1),
    ("text", "key = 'AKIA" + "Q" * 16 + "'\n", "hardcoded-secret", 1),
    ("text", "k = '''-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEowIBAAKCAQEA7\n'''\n",
     "private-key", 1),
]  # fmt: skip

QUIET = [
    ("hygiene", "def f(a=(), b=None, *, c=0):\n    '''Said.'''\n"),
    ("hygiene", "x = None\ny = x is None\nz = x is True\n"),
    ("hygiene", "assert x, 'message'\n"),
    ("hygiene", "def _f():\n    def g(): pass\n"),
    ("hygiene", "x = {1: 'a', True: 'b', **y, **z}\n"),
    ("hygiene", "try:\n    f()\nfinally:\n    for x in y:\n        break\n"),
    ("hygiene", "try:\n    f()\nexcept BaseException:\n    raise\n"),
    ("text", "password = 'change-me'\n"),
    ("text", "Heading\n=======\n"),
    ("text", "if x:\n\ty = 1\n"),
    ("vulture", "def public():\n    return 1\n"),
    ("vulture", "__all__ = ['sep']\nfrom os import sep\n"),
]


def topics(findings: tuple[Finding, ...]) -> set[tuple[str, int]]:
    return {(finding.topic, finding.line) for finding in findings}


@pytest.mark.parametrize(("agent", "code", "topic", "line"), CASES)
def test_finds(written: Writer, agent: str, code: str, topic: str, line: int) -> None:
    (found,) = analyser(agent).analyse_many([written("pkg/module.py", code)])
    assert (topic, line) in topics(found)
    assert {finding.agents for finding in found} == {(agent,)}
    assert {finding.path for finding in found} == {"pkg/module.py"}


@pytest.mark.parametrize(("agent", "code"), QUIET)
def test_keeps_quiet(written: Writer, agent: str, code: str) -> None:
    (found,) = analyser(agent).analyse_many([written("module.py", code)])
    assert found == ()


@pytest.mark.parametrize("agent", ANALYSER_NAMES)
def test_keeps_quiet_about_clean_code(written: Writer, agent: str) -> None:
    (found,) = analyser(agent).analyse_many([written("module.py", CLEAN)])
    assert found == ()


@pytest.mark.parametrize("agent", ANALYSER_NAMES)
def test_an_empty_batch_and_an_empty_file(written: Writer, agent: str) -> None:
    specialist = analyser(agent)
    assert specialist.analyse_many([]) == []
    (found,) = specialist.analyse_many([written("__init__.py", "")])
    assert topics(found) <= {("missing-docstring", 1)}


def test_there_is_no_other_analyser() -> None:
    with pytest.raises(KeyError):
        analyser("astrology")


# --- comments that excuse ---------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "code", "expected"),
    [
        ("ruff", "import os  # noqa\n", "# noqa"),
        ("ruff", "import os  # noqa: E501, F401\n", "# noqa: E501, F401"),
        ("ruff", "import os  # noqa: F\n", "# noqa"),
        ("ruff", "import os  # noqa: E501\n", None),
        ("ruff", "# ruff: noqa\nimport os\n", "# ruff: noqa"),
        ("ruff", "x = '# noqa'; import os\n", None),
        ("vulture", "import os  # noqa: F401\n", "# noqa: F401"),
        ("bandit", "eval('1')  # nosec\n", "# nosec"),
        ("bandit", "eval('1')  # nosec B307\n", "# nosec B307"),
        ("bandit", "eval('1')  # nosec B101\n", None),
        ("bandit", "eval(\n  '1',\n)  # nosec\n", "# nosec"),
        ("hygiene", "list = 1  # noqa\n", None),
    ],
)
def test_excuses_are_marked_not_obeyed(
    written: Writer, agent: str, code: str, expected: str | None
) -> None:
    (found,) = analyser(agent).analyse_many([written("module.py", code)])
    wanted = {"unused-import", "eval-used", "shadowed-builtin"}
    excuses = {finding.exoneration for finding in found if finding.topic in wanted}
    assert excuses == {expected}


# --- the same subject for the same name -------------------------------------------


@pytest.mark.parametrize(
    ("code", "subjects"),
    [
        ("import os, sys\n", {"os", "sys"}),
        ("import os.path\n", {"os"}),
        ("import os.path as where\n", {"where"}),
        ("from os import path as where\n", {"where"}),
        ("from os import (\n    path,\n    sep,\n)\n", {"path", "sep"}),
    ],
)
def test_ruff_and_vulture_mean_the_same_name(
    written: Writer, code: str, subjects: set[str]
) -> None:
    file = written("module.py", code)
    places = []
    for name in ("ruff", "vulture"):
        (found,) = analyser(name).analyse_many([file])
        imports = [finding for finding in found if finding.topic == "unused-import"]
        places.append({(finding.line, finding.subject) for finding in imports})
    assert places[0] == places[1]
    assert {subject for _, subject in places[0]} == subjects


# --- bad input --------------------------------------------------------------------


@pytest.fixture
def bad_tree(tmp_path: Path) -> Path:
    (tmp_path / "syntax.py").write_bytes(b"import os\ndef broken(:\n")
    (tmp_path / "null.py").write_bytes(b"x = 1\x00\n")
    (tmp_path / "latin.py").write_bytes(b"name = '\xe9'\n")
    (tmp_path / "cookie.py").write_bytes(b"# coding: latin-1\nimport os\nname = '\xe9'\n")
    (tmp_path / "deep.py").write_bytes(b"x = " + b"-" * 100_000 + b"1\n")
    (tmp_path / "large.py").write_bytes(b"x = 1\n" * 400_000)
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "dangling.py").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / os.fsdecode(b"bad\xff.py")).write_bytes(b"import os\n")
    (tmp_path / "-v.py").write_bytes(b"import os\n")
    (tmp_path / "@file.py").write_bytes(b"import os\n")
    (tmp_path / "quote ' \" <b>.py").write_bytes(b"import os\n")
    (tmp_path / "good.py").write_bytes(b"import os\n")
    return tmp_path


BAD_PATHS = (
    "-v.py", "@file.py", "bad\\xff.py", "cookie.py", "dangling.py", "deep.py", "folder.py",
    "gone.py", "good.py", "large.py", "latin.py", "null.py", "pipe.py", "quote ' \" <b>.py",
    "syntax.py",
)  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("agent", ANALYSER_NAMES)
def test_bad_files_are_findings_and_spare_the_others(bad_tree: Path, agent: str) -> None:
    found = analyse_batch(analyser(agent), bad_tree, BAD_PATHS)
    rules = {path: {item.rule for item in found if item.path == path} for path in BAD_PATHS}
    for path in ("dangling.py", "folder.py", "gone.py", "pipe.py"):
        assert rules[path] == {"unreadable"}
    assert rules["large.py"] == {"too-large"}
    assert rules["latin.py"] == {"unparsable"}
    needs_tree = agent != "text"
    if needs_tree:
        assert rules["syntax.py"] == {"unparsable"}
        # Ruff crashes on what the others refuse by a count.
        assert rules["deep.py"] == {"analyser-failed" if agent == "ruff" else "too-deep"}
    if agent != "ruff" and needs_tree:
        assert rules["null.py"] == {"unparsable"}
    readable = ("-v.py", "@file.py", "bad\\xff.py", "cookie.py", "quote ' \" <b>.py", "good.py")
    for path in readable:
        expected = {"ruff": "ruff/F401", "vulture": "vulture/unused-import"}.get(agent)
        assert (expected in rules[path]) == (expected is not None), path
        assert not rules[path] & {"unreadable", "unparsable", "analyser-failed"}, path
    text = "".join(finding.model_dump_json() for finding in found)
    assert str(bad_tree) not in text


@pytest.mark.parametrize("error", [RecursionError, MemoryError, ValueError, KeyError])
def test_a_library_that_raises_is_a_finding(error: type[Exception]) -> None:
    class Failing(PerFileAnalyser):
        name = "failing"

        def check(self, file: SourceFile) -> tuple[Finding, ...]:
            raise error(f"at {id(file)}")

    (found,) = Failing().analyse(SourceFile("a.py", b"x = 1\n"))
    assert (found.rule, found.severity) == ("analyser-failed", Severity.LOW)
    assert error.__name__ in found.message
    assert "at " not in found.message


def test_a_test_of_bandit_that_raises_is_a_finding(
    written: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bandit itself logs the failure, and goes on as if there was nothing to find."""
    bandit = analyser("bandit")  # Imports bandit, without the warnings of its import.
    from bandit.core import utils

    def failing(node: object, aliases: object) -> str:
        del node, aliases
        raise IndexError

    monkeypatch.setattr(utils, "get_call_name", failing)
    (found,) = bandit.analyse_many([written("a.py", "eval('1')\n")])
    assert [finding.rule for finding in found] == ["analyser-failed"]


NESTED = {
    "operators": "x = " + "-" * (TREE_DEPTH_MAX - 6) + "y\n",
    "attributes": "x = a" + ".b" * (TREE_DEPTH_MAX - 6) + "\n",
    "conditions": "if a: x = 1\n" + "elif b: x = 2\n" * (TREE_DEPTH_MAX - 6),
    "functions": "".join(" " * depth + f"def f{depth}():\n" for depth in range(95))
    + " " * 95 + "return 1\n",
}  # fmt: skip


@pytest.mark.parametrize("agent", ANALYSER_NAMES)
@pytest.mark.parametrize("shape", NESTED)
def test_the_deepest_allowed_nesting_is_analysed_on_any_stack(
    written: Writer, agent: str, shape: str
) -> None:
    """An actor's stack is deeper than a loop's, and both must say the same."""
    file = written("module.py", NESTED[shape])

    def below(frames: int) -> set[str]:
        if frames:
            return below(frames - 1)
        (found,) = analyser(agent).analyse_many([file])
        return {finding.rule for finding in found}

    assert file.parse_problem is None
    assert not below(250) & {"too-deep", "analyser-failed", "unparsable"}


def test_a_secret_is_not_repeated(written: Writer) -> None:
    secret = "q8Zr2Lw0Xt7Vb5Nm"
    file = written("a.py", f"def f(password='{secret}'):\n    token = '{secret}'\n")
    for name in ("bandit", "text"):
        (found,) = analyser(name).analyse_many([file])
        assert found
        assert secret not in "".join(finding.message for finding in found)


def test_bandit_leaves_the_process_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    import warnings

    before = warnings.formatwarning
    analyser("bandit").analyse_many([SourceFile("a.py", b"eval('1')  # nosec B999\n")])
    assert warnings.formatwarning is before
    assert capfd.readouterr() == ("", "")


def test_surrogates_in_a_literal_can_be_encoded(written: Writer) -> None:
    file = written("a.py", "open('/tmp/\\ud800')\npassword = '\\ud800abc'\n")
    for name in ANALYSER_NAMES:
        for found in analyser(name).analyse_many([file]):
            for finding in found:
                finding.model_dump_json().encode()


# --- determinism --------------------------------------------------------------------


@pytest.mark.parametrize("agent", ANALYSER_NAMES)
def test_batches_and_order_make_no_difference(bad_tree: Path, agent: str) -> None:
    (bad_tree / "more.py").write_text("".join(code for _, code, _, _ in CASES[:12]))
    paths = (*BAD_PATHS, "more.py")
    at_once = analyse_batch(analyser(agent), bad_tree, paths)
    specialist = analyser(agent)
    singly = [
        finding
        for path in reversed(paths)
        for finding in analyse_batch(specialist, bad_tree, [path])
    ]
    assert sorted(at_once, key=repr) == sorted(singly, key=repr)


def test_the_same_from_another_folder(
    written: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vulture asks whether the resolved path is a test's; bandit looks for packages."""
    written("tests/pkg/__init__.py", "")
    written("tests/pkg/module.py", "class TestThing:\n    def test_it(self):\n        eval('1')\n")
    results = []
    for folder in (tmp_path, tmp_path / "tests", Path("/")):
        monkeypatch.chdir(folder)
        results.append(
            [
                analyse_batch(analyser(name), tmp_path / "tests", ["pkg/module.py"])
                for name in ANALYSER_NAMES
            ]
        )
    assert results[0] == results[1] == results[2]
