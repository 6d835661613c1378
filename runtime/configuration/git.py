"""A commit of a Git repository as a source, by the `git` binary, without a checkout.

Git reads objects only: no work tree is made, so no hook, filter or submodule runs, and the
configuration of the user and the machine is not used. Fetching is bounded in time.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from callboard.actors.configuration.formats.draft import SourceFile
from callboard.actors.configuration.formats.read import FILE_BYTES_MAX
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.names import shown

from .folder import FILES_MAX, READ, TOTAL_BYTES_MAX

__all__ = ["Commit", "SourceVanished", "fetched", "read_commit"]

FETCH_S_MAX: Final = 120.0
ANSWER_S_MAX: Final = 60.0
URL: Final = re.compile(r"(?:https|ssh|file)://\S{1,2000}")
REVISION: Final = re.compile(r"(?!-)[\w./@^~-]{1,200}")
LISTING_BYTES_MAX: Final = 50_000_000
SUBMODULE: Final = "160000"
LINK: Final = "120000"
# Git checks the digest of each object. Its further checks are for checkouts, which none is made of.
SETTINGS: Final = (
    "protocol.allow=never", "protocol.https.allow=always", "protocol.ssh.allow=always",
    "protocol.file.allow=always", "core.hooksPath=/dev/null", "core.fsmonitor=false",
    "core.symlinks=false", "core.attributesFile=/dev/null", "submodule.recurse=false",
    "credential.helper=", "core.askPass=", "gc.auto=0", "maintenance.auto=false",
    "core.sshCommand=ssh -oBatchMode=yes",
    "uploadpack.packObjectsHook=", "core.alternateRefsCommand=", "safe.bareRepository=all",
    "safe.directory=*",
)  # fmt: skip


class SourceVanished(CallboardError):
    """A repository, or a commit of it, is not there any more."""

    code = "configuration_source_vanished"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that was read."""

    commit: str
    author: str
    reason: str
    """The first line of its message."""


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "LC_ALL": "C",
    }


def _command(repository: Path, arguments: Sequence[str]) -> list[str]:
    options = [option for setting in SETTINGS for option in ("-c", setting)]
    return ["git", *options, f"--git-dir={repository}", *arguments]


def _run(repository: Path, *arguments: str, timeout_s: float = ANSWER_S_MAX) -> bytes:
    try:
        done = subprocess.run(  # noqa: S603 - a list, no shell; each part is checked or ours
            _command(repository, arguments),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=timeout_s,
        )
    except FileNotFoundError:
        raise UsageError("there is no git.", advice="Install git, or use a folder.") from None
    except subprocess.TimeoutExpired:
        raise SourceVanished(
            f"git {arguments[0]} took more than {timeout_s:g} s.", advice="Try again later."
        ) from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        raise SourceVanished(
            f"git {arguments[0]} has failed: {lines[-1]:.300}.",
            advice="Check the address, the revision and the access.",
        )
    return done.stdout


@contextmanager
def fetched(url: str, revision: str = "HEAD") -> Iterator[tuple[Path, str]]:
    """A commit of a remote repository, with nothing older, in a folder that is removed afterwards.

    Gives the folder and the id of the commit. Raises `UsageError` and `SourceVanished`.
    """
    if URL.fullmatch(url) is None:
        raise UsageError(
            f"{shown(url)} is no address that is allowed.", advice="Use https, ssh or file."
        )
    _check_revision(revision)
    with tempfile.TemporaryDirectory(prefix="callboard-git-") as folder:
        repository = Path(folder) / "repository.git"
        _run(repository, "init", "--quiet", "--bare", "--template=", str(repository))
        _run(
            repository, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules",
            "--no-write-fetch-head", "--end-of-options", url, f"+{revision}:refs/heads/source",
            timeout_s=FETCH_S_MAX,
        )  # fmt: skip
        commit = _run(repository, "rev-parse", "--verify", "refs/heads/source^{commit}")
        yield repository, commit.decode().strip()


def _check_revision(revision: str) -> None:
    if REVISION.fullmatch(revision) is None or ".." in revision:
        raise UsageError(
            f"{shown(revision)} is no revision.", advice="Name a branch, a tag or a commit."
        )


def read_commit(repository: Path, revision: str = "HEAD") -> tuple[Commit, list[SourceFile]]:
    """A commit of a local repository, and its files. Raises `UsageError` and `SourceVanished`."""
    _check_revision(revision)
    git_dir = repository / ".git"
    held = git_dir if git_dir.is_dir() else repository
    # Some keys of a repository's own configuration name programs; they do not name ours.
    commit = _run(held, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    name = commit.decode().strip()
    raw = _run(held, "cat-file", "commit", name).decode("utf-8", "replace")
    head, _, message = raw.partition("\n\n")
    author = next((line[7:] for line in head.split("\n") if line.startswith("author ")), "")
    listing = _run(held, "ls-tree", "-r", "-z", "-l", "--full-tree", name)
    if len(listing) > LISTING_BYTES_MAX:
        raise UsageError("the commit has too many files.", advice="Choose a smaller repository.")
    files = list(_files(held, listing))
    author = re.sub(r" \d+ [+-]\d+$", "", author)
    return Commit(name, author, message.strip().partition("\n")[0][:200]), files


def _files(repository: Path, listing: bytes) -> Iterator[SourceFile]:
    entries = [entry for entry in listing.split(b"\0") if entry]
    wanted: list[tuple[str, str]] = []
    total = 0
    for number, entry in enumerate(entries):
        about, _, raw = entry.partition(b"\t")
        mode, _, object_id, size = about.decode().split()
        path = raw.decode("utf-8", "backslashreplace")
        if number >= FILES_MAX or total > TOTAL_BYTES_MAX:
            yield SourceFile(path, rule="too-many-files", problem=f"more than {FILES_MAX:,} files.")
            break
        if mode == SUBMODULE:
            yield SourceFile(path, rule="submodule", problem="a submodule is not read.")
        elif mode == LINK:
            yield SourceFile(path)  # A link is a file of the tree; what it names is there itself.
        elif Path(path).suffix.lower() not in READ:
            yield SourceFile(path)
        elif not size.isdigit():
            yield SourceFile(path, rule="file-unreadable", problem="its object is missing.")
        elif int(size) > FILE_BYTES_MAX:
            yield SourceFile(path, rule="file-too-large", problem=f"the file has {size} bytes.")
        else:
            total += int(size)
            wanted.append((path, object_id))
    contents = _contents(repository, [object_id for _, object_id in wanted])
    for path, object_id in wanted:
        if object_id in contents:
            yield SourceFile(path, contents[object_id])
        else:
            yield SourceFile(path, rule="file-unreadable", problem="its object is missing.")


def _contents(repository: Path, object_ids: Sequence[str]) -> Mapping[str, bytes]:
    """The bytes of objects, by one process. An object that is missing is left out."""
    if not object_ids:
        return {}
    with tempfile.TemporaryFile() as asked:
        asked.write("".join(f"{one}\n" for one in object_ids).encode())
        asked.seek(0)
        with tempfile.TemporaryFile() as answered:
            try:
                subprocess.run(  # noqa: S603 - a list, no shell
                    _command(repository, ("cat-file", "--batch")),
                    env=_environment(),
                    stdin=asked,
                    stdout=answered,
                    stderr=subprocess.DEVNULL,
                    check=False,
                    timeout=FETCH_S_MAX,
                )
            except subprocess.TimeoutExpired:
                raise SourceVanished(
                    "git cat-file took too long.", advice="Try again later."
                ) from None
            answered.seek(0)
            return dict(_answers(answered))


def _answers(stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    while header := stream.readline():
        parts = header.split()
        if len(parts) == 3 and parts[1] == b"blob":
            yield parts[0].decode(), stream.read(int(parts[2]))
            stream.read(1)
