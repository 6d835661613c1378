"""Finding the files: the same list on every machine, and clear errors."""

import os
from pathlib import Path

import pytest

from callboard.messages.core.errors import UsageError
from examples.review.tree import FOLDERS_EXCLUDED, scan_tree, standard_library


def test_paths_are_relative_and_sorted(tmp_path: Path) -> None:
    for name in ("b.py", "a/z.py", "a.py", "a/b/c.py", "data.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    tree = scan_tree(tmp_path)
    assert tree.paths == ("a.py", "a/b/c.py", "a/z.py", "b.py")
    assert (tree.lines, tree.size_bytes) == (4, 24)
    assert tree.batches(3) == (("a.py", "a/b/c.py", "a/z.py"), ("b.py",))


def test_excluded_folders_are_skipped_anywhere(tmp_path: Path) -> None:
    for folder in ("__pycache__", "deep/.venv/lib", "deep/kept"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").touch()
    assert scan_tree(tmp_path).paths == ("deep/kept/a.py",)
    assert scan_tree(tmp_path, excluded=FOLDERS_EXCLUDED | {"kept"}).paths == ()


def test_empty_tree_has_a_note(tmp_path: Path) -> None:
    tree = scan_tree(tmp_path)
    assert tree.paths == ()
    assert len(tree.notes) == 1


def test_links_to_folders_are_not_entered(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.py").touch()
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "real")
    assert scan_tree(tmp_path).paths == ("real/a.py",)


def test_a_path_that_cannot_be_read_as_a_file_is_listed(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "folder.py" / "inner.py").touch()
    (tmp_path / "dangling.py").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.py")
    assert scan_tree(tmp_path).paths == (
        "dangling.py",
        "folder.py",
        "folder.py/inner.py",
        "pipe.py",
    )


@pytest.mark.parametrize("name", ["missing", "file.py", "file.py/below", "nul\0l"])
def test_root_that_is_no_folder_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.py").touch()
    with pytest.raises(UsageError) as caught:
        scan_tree(tmp_path / name)
    assert caught.value.advice
    assert name.partition("\0")[0] in caught.value.message


def test_root_behind_a_link_is_entered(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.py").touch()
    (tmp_path / "link").symlink_to("real")
    assert scan_tree(tmp_path / "link").paths == ("a.py",)


def test_standard_library_comes_without_its_tests() -> None:
    tree = scan_tree(standard_library())
    assert "ast.py" in tree.paths
    assert len(tree.paths) > 300
    folders = {part for path in tree.paths for part in path.split("/")[:-1]}
    assert not folders & {"test", "tests", "idle_test", "site-packages", "__pycache__"}
