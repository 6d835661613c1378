"""Folders and Git repositories: hostile ones are read, bounded, and nothing in them is run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from callboard.actors.configuration.formats.read import FILE_BYTES_MAX
from callboard.configuration import SourceVanished, load_configuration
from callboard.messages.core.errors import UsageError
from callboard.runtime.configuration.folder import read_folder
from callboard.runtime.configuration.git import fetched, read_commit

AGENT = "---\nname: {name}\ndescription: d\n---\nRead.\n"

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    return done.stdout.strip()


def repository(folder: Path, files: dict[str, str]) -> str:
    folder.mkdir(exist_ok=True)
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "-m", "A reason\n\nMore of it.")
    return git(folder, "rev-parse", "HEAD")


def test_links_pipes_and_large_files_are_reported_and_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.md"
    (root / "agents").mkdir(parents=True)
    outside.write_text(AGENT.format(name="outside"))
    (root / "agents" / "a.md").write_text(AGENT.format(name="a"))
    (root / "agents" / "link.md").symlink_to("a.md")
    (root / "agents" / "out.md").symlink_to(outside)
    (root / "agents" / "broken.md").symlink_to("nowhere.md")
    (root / "agents" / "self.md").symlink_to("self.md")
    (root / "up").symlink_to(tmp_path)
    (root / "circle").symlink_to(root)
    os.mkfifo(root / "agents" / "pipe.md")
    with (root / "agents" / "large.md").open("wb") as stream:
        stream.truncate(FILE_BYTES_MAX + 1)
    with (root / "agents" / "huge.bin").open("wb") as stream:
        stream.truncate(10_000_000_000)
    found = {file.path: file.rule for file in read_folder(root)}
    assert found["agents/a.md"] == found["agents/link.md"] == found["agents/huge.bin"] == ""
    assert found["agents/out.md"] == found["up"] == "link-leaves-folder"
    assert found["agents/broken.md"] == "link-broken"
    assert found["agents/self.md"] in ("link-broken", "file-unreadable")
    assert found["agents/pipe.md"] == "file-unreadable"
    assert found["agents/large.md"] == "file-too-large"
    package, result = load_configuration(root)
    assert {one.name for one in package.components} == {"a"}
    assert not result.is_valid


def test_ten_thousand_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    for number in range(10_000):
        (tmp_path / "agents" / f"a{number}.md").write_text(AGENT.format(name=f"a{number}"))
    package, result = load_configuration(tmp_path)
    assert len(package.components) == 10_000
    assert result.is_valid


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        load_configuration(tmp_path / "nothing")


@needs_git
def test_a_commit_is_read_without_a_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    first = repository(source, {"agents/a.md": AGENT.format(name="a")})
    second = repository(source, {"agents/b.md": AGENT.format(name="b")})
    (source / "agents" / "c.md").write_text(AGENT.format(name="c"))
    names = {
        revision: {one.name for one in load_configuration(source, revision=revision)[0].components}
        for revision in (first, second, "HEAD", "main", "main~1")
    }
    assert names == {
        first: {"a"}, second: {"a", "b"}, "HEAD": {"a", "b"}, "main": {"a", "b"}, "main~1": {"a"},
    }  # fmt: skip
    package, _ = load_configuration(f"file://{source}", revision=second)
    assert package.metadata.commit == second
    assert package.metadata.author == "Ann <ann@example.org>"
    assert package.metadata.reason == "A reason"
    assert {one.name for one in load_configuration(source)[0].components} == {"a", "b", "c"}


@needs_git
def test_a_repository_that_vanishes_or_a_history_that_is_rewritten(tmp_path: Path) -> None:
    source = tmp_path / "source"
    commit = repository(source, {"agents/a.md": AGENT.format(name="a")})
    with pytest.raises(SourceVanished):
        load_configuration(source, revision="0" * 40)
    git(source, "commit", "--amend", "--quiet", "-m", "Other")
    git(source, "reflog", "expire", "--expire=now", "--all")
    git(source, "gc", "--quiet", "--prune=now")
    with pytest.raises(SourceVanished):
        load_configuration(source, revision=commit)
    with pytest.raises(SourceVanished):
        load_configuration(f"file://{tmp_path}/nothing")


@needs_git
def test_an_object_that_is_gone_hides_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    repository(source, {f"agents/{name}.md": AGENT.format(name=name) for name in "ab"})
    blob = git(source, "rev-parse", "HEAD:agents/a.md")
    (source / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    _, files = read_commit(source)
    assert {file.path: file.rule for file in files} == {
        "agents/a.md": "file-unreadable", "agents/b.md": "",
    }  # fmt: skip


@needs_git
@pytest.mark.parametrize(
    ("url", "revision"),
    [
        ("ext::sh -c touch% x", "HEAD"), ("http://example.org/x", "HEAD"), ("git://x/y", "HEAD"),
        ("--upload-pack=touch x://", "HEAD"), ("file:///x", "--output=x"), ("file:///x", "a..b"),
        ("file:///x", ""),
    ],
)  # fmt: skip
def test_other_addresses_and_revisions_are_refused(url: str, revision: str) -> None:
    with pytest.raises(UsageError), fetched(url, revision):
        pass


@needs_git
def test_nothing_in_a_hostile_repository_is_run(tmp_path: Path) -> None:
    source, proof = tmp_path / "source", tmp_path / "proof"
    touch = f"touch {proof}"
    repository(
        source,
        {
            ".gitattributes": "* filter=evil diff=evil text eol=crlf\n",
            ".gitmodules": f'[submodule "a"]\n path = a\n url = ext::sh -c "{touch}"\n'
            f" update = !{touch}\n",
            "agents/tag.md": f"---\nname: !!python/object/apply:os.system ['{touch}']\n---\nx\n",
            "agents/alias.md": "---\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n---\n",
            "agents/deep.md": "---\na: " + "[" * 5_000 + "\n---\n",
            "commands/shell.md": f"Now: !`{touch}`\n\n```!\n{touch}\n```\n",
            ".claude/settings.json": json.dumps(
                {
                    "apiKeyHelper": touch,
                    "hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": touch}]}]},
                }
            ),
            ".mcp.json": json.dumps(
                {"mcpServers": {"a": {"command": "sh", "args": ["-c", touch]}}}
            ),
            "callboard/alerts/a.yaml": "groups: !!python/name:os.system\n",
        },
    )
    hooks = source / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    names = ("post-checkout", "reference-transaction", "pre-receive", "post-index-change")
    for name in names:
        (hooks / name).write_text(f"#!/bin/sh\n{touch}\n")
        (hooks / name).chmod(0o755)
    for key, value in (
        ("core.fsmonitor", touch), ("core.sshCommand", touch), ("filter.evil.smudge", touch),
        ("filter.evil.clean", touch), ("diff.evil.textconv", touch), ("core.pager", touch),
        ("uploadpack.packObjectsHook", touch), ("alias.ls-tree", f"!{touch}"),
        ("core.gitProxy", touch), ("core.hooksPath", str(hooks)),
    ):  # fmt: skip
        git(source, "config", key, value)
    proof.unlink(missing_ok=True)
    for path, revision in ((str(source), ""), (str(source), "HEAD"), (f"file://{source}", "main")):
        _, result = load_configuration(path, revision=revision)
        found = {one.path: one.rule for one in result.findings if one.severity == "error"}
        assert {"agents/tag.md", "agents/alias.md", "agents/deep.md"} <= set(found)
        assert {"shell-injection", "hook-runs-code", "helper-runs-code"} <= {
            one.rule for one in result.findings
        }
        assert not proof.exists(), path


@needs_git
def test_a_submodule_is_reported(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    commit = repository(inner, {"agents/a.md": AGENT.format(name="a")})
    repository(outer, {"agents/b.md": AGENT.format(name="b")})
    git(outer, "update-index", "--add", "--cacheinfo", f"160000,{commit},inner")
    git(outer, "commit", "--quiet", "-m", "A submodule")
    _, result = load_configuration(outer, revision="HEAD")
    assert {(one.path, one.rule) for one in result.findings} == {("inner", "submodule")}


def test_betterleaks_finds_secrets_and_our_two_rules_as_well() -> None:
    pytest.importorskip("pybetterleaks")
    from callboard.runtime.configuration.betterleaks import BetterleaksScanner

    token = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    text = f'one\nkey = "{token}"\nurl = postgres://app:{"k3Jd9sLq2" + "Xw8Zr"}@db.internal/x\n'
    found = {(one.rule, one.line) for one in BetterleaksScanner().scan(text)}
    assert {("github-pat", 2), ("url-credentials", 3)} <= found


def test_the_command_line_needs_no_ray(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "a.md").write_text(AGENT.format(name="a"))
    script = (
        "import sys\nfrom callboard.runtime.cli.main import main\n"
        f"sys.argv = ['callboard', 'config', 'validate', {str(tmp_path)!r}]\n"
        "try:\n    main()\nexcept SystemExit as error:\n    assert not error.code\n"
        "assert 'ray' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
