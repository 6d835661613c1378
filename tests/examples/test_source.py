"""Reading files: nothing that a file system can hold makes a review fail or hang."""

import os
from pathlib import Path

import pytest

from examples.review.source import (
    SIZE_BYTES_MAX,
    TREE_DEPTH_MAX,
    SourceFile,
    load_source,
    local_name,
    portable_name,
)


def problem_rule(file: SourceFile) -> str | None:
    problem = file.parse_problem
    return None if problem is None else problem.rule


def test_plain_file_has_text_and_tree() -> None:
    file = SourceFile("a.py", b"x = 1\r\ny = 2\rz = 3\n")
    assert file.parse_problem is None
    assert file.lines == ("x = 1", "y = 2", "z = 3", "")
    assert len(file.tree.body) == 3


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"x = 1\ndef broken(:\n", 2),
        (b"x = 1\x00\n", 1),
        (b"ok = 1\nname = '\xe9'\n", 2),
        (b"# coding: utf-8\nname = '\xe9'\n", 2),
        (b"# coding: no-such-encoding\n", 1),
        (b"# coding: hex\nx = 1\n", 1),
        (b"x = 1\n  y = 2\n", 2),
        (b"'unfinished", 1),
    ],
)
def test_unparsable_source_is_a_problem_with_a_line(data: bytes, line: int) -> None:
    problem = SourceFile("a.py", data).parse_problem
    assert problem is not None
    assert (problem.rule, problem.line) == ("unparsable", line)


def test_cookie_names_the_encoding() -> None:
    file = SourceFile("a.py", "# coding: latin-1\nname = 'é'\n".encode("latin-1"))
    assert file.parse_problem is None
    assert "é" in file.text
    assert not file.is_utf8


def test_byte_order_mark_is_no_text() -> None:
    file = SourceFile("a.py", b"\xef\xbb\xbfx = 1\n")
    assert file.parse_problem is None
    assert file.lines[0] == "x = 1"


def test_empty_file_is_fine() -> None:
    assert SourceFile("a.py", b"").parse_problem is None


@pytest.mark.parametrize(
    "data",
    [
        b"x = " + b"-" * (TREE_DEPTH_MAX + 1) + b"1\n",
        b"x = " + b"-" * 50_000 + b"1\n",
        b"x = " + b" + ".join([b"1"] * 3_000) + b"\n",
        b"if a: pass\n" + b"elif b: pass\n" * 400,
        b"x = a" + b".b" * 2_000 + b"\n",
    ],
)
def test_nesting_is_limited_by_a_count(data: bytes) -> None:
    """The stack that is left differs between processes; the outcome must not."""
    assert problem_rule(SourceFile("a.py", data)) == "too-deep"


def test_nesting_below_the_limit_is_analysed() -> None:
    assert problem_rule(SourceFile("a.py", b"x = " + b"-" * 100 + b"1\n")) is None


def test_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "big.py").write_bytes(b"#" * (SIZE_BYTES_MAX + 1))
    (tmp_path / "fits.py").write_bytes(b"#" * SIZE_BYTES_MAX)
    big = load_source(tmp_path, "big.py")
    assert problem_rule(big) == "too-large"
    assert big.data == b""
    assert problem_rule(load_source(tmp_path, "fits.py")) is None


@pytest.mark.timeout(10)
def test_a_path_without_a_file_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.py").symlink_to(tmp_path / "loop.py")
    (tmp_path / "null.py").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe.py")
    names = ("folder.py", "dangling.py", "loop.py", "null.py", "pipe.py", "gone.py", "a\0b.py")
    for name in names:
        file = load_source(tmp_path, name)
        assert problem_rule(file) == "unreadable", name
        assert file.problem is not None
        assert str(tmp_path) not in file.problem.message


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_reading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        load_source(tmp_path, "folder.py")
        load_source(tmp_path, "a.py")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "closed.py").write_text("x = 1\n")
    (tmp_path / "closed.py").chmod(0)
    assert problem_rule(load_source(tmp_path, "closed.py")) == "unreadable"


def test_name_that_is_no_text_is_found_again(tmp_path: Path) -> None:
    raw = os.fsdecode(b"bad\xff.py")
    (tmp_path / raw).write_text("x = 1\n")
    name = portable_name(raw)
    assert name == "bad\\xff.py"
    assert local_name(name) == raw
    assert load_source(tmp_path, name).data == b"x = 1\n"


def test_column_counts_characters() -> None:
    file = SourceFile("a.py", "x = 'éé'; y = 1\n".encode())
    assert file.column(1, len("x = 'éé'; ".encode())) == 11


def test_position_of_an_offset() -> None:
    file = SourceFile("a.py", b"ab\ncd\n")
    assert file.position(0) == (1, 1)
    assert file.position(4) == (2, 2)


def test_form_feed_ends_no_line() -> None:
    file = SourceFile("a.py", b"x = 1\n\x0c\ny = 2  # noqa\n")
    assert file.lines[2] == "y = 2  # noqa"
    assert file.comments == {3: "# noqa"}
