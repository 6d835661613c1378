"""The project speaks the field's words: private ones stay out of names and out of prose.

ARCHITECTURE.md has the dictionary of the words that are the project's own. The words below were
its own once, and a reader had to learn them before the code. Each names the word to use instead.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

INSTEAD: Final = {
    "anew": "again",
    "announcer": "admin socket",
    "belongings": "cleanup",
    "beside": "next to, besides, in the same run",
    "births": "entries; the spawner",
    "chronicle": "history",
    "courier": "sender",
    "desk": "root endpoint",
    "endings": "termination",
    "envoy": "proxy",
    "envoys": "remote children",
    "farewell": "release",
    "felt": "exit signal",
    "gardener": "tree admin",
    "guest": "attached driver",
    "guests": "attached drivers",
    "keeper": "key region",
    "keepers": "key regions",
    "keepership": "key region",
    "lane": "executor, flow key",
    "lanes": "executors, flow keys",
    "letterbox": "dead-letter listener",
    "lodge": "holder",
    "lodger": "remote child",
    "lodging": "remote children",
    "lodgings": "remote children",
    "pursued": "execution backend",
    "pursuit": "execution runner",
    "steward": "execution service",
    "stewards": "execution services",
    "stewardship": "execution service",
    "surroundings": "root environment",
    "telling": "rendering",
    "told": "notified, informed; or name the subject that says it",
    "understudies": "standbys",
    "understudy": "standby",
    "unkept": "on_unknown",
    "untold": "pending",
    "warden": "control actor",
    "wardens": "control actors",
}
"""Words that are banned in names and in prose, and what to write instead."""

IN_NAMES: Final = {
    "birth": "entry",
    "families": "children",
    "family": "children",
    "life": "lifecycle",
    "look": "query, view",
    "looks": "views",
    "lasting": "detached",
    "pressed": "room_waiters",
    "sight": "snapshot",
    "stories": "histories",
    "story": "history, report",
    "ties": "monitors",
    "unsafe": "non_idempotent",
    "visitor": "join request",
    "wish": "command",
    "wishes": "commands",
}
"""Words that are banned in names only: prose needs them in their plain sense."""

LEFT_OUT: Final = ("CHANGELOG.md", "LICENSE", "tests/data/", "tests/repository/test_words.py")
FOREIGN: Final = frozenset(
    {
        "BanditNodeVisitor",
        "ComplexityVisitor",
        "bandit_visitor",
        "text_fd_to_metric_families",
        "text_string_to_metric_families",
    }
)
"""Names of Python's and of other packages' own."""
FOREIGN_WORDS: Final = {"examples": {"visitor", "visitors"}}
PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
PROSE: Final = re.compile(rf"(?<![\w./-])(?:{'|'.join(INSTEAD)})(?![\w-])", re.IGNORECASE)
CANDIDATE: Final = re.compile(rf"(?i:{'|'.join(INSTEAD | IN_NAMES)})(?![a-z])")
"""What any breach matches. Most files have none, and splitting a file into tokens takes long."""
IS_PROSE: Final = re.compile(r"\s").search
"""A text without a space is a key or a name of something durable: it stays as it is."""
TEXTS: Final = frozenset({".md", ".yaml", ".yml", ".toml"})


def banned_in_names(text: str, allowed: frozenset[str] | set[str] = frozenset()) -> Iterator[str]:
    """The banned words in a name such as `ask_desk` or `RootDesk`; a test's name is prose."""
    banned = INSTEAD if text.startswith("test_") else INSTEAD | IN_NAMES
    for part in PART.findall(text):
        word = part.lower()
        if word in banned and word not in allowed:
            yield word


def breaches(path: Path, text: str) -> Iterator[str]:
    """The banned words of a file, each with its line and what to write instead."""
    allowed = FOREIGN_WORDS.get(path.parts[0], set())
    for part in path.with_suffix("").parts:
        for word in banned_in_names(part, allowed):
            yield f"the path: {word!r}; write {(INSTEAD | IN_NAMES)[word]}"
    if not CANDIDATE.search(text):
        return
    if path.suffix != ".py":
        yield from _in_prose(1, text)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.NAME and token.string not in FOREIGN:
            for word in banned_in_names(token.string, allowed):
                yield f"line {line}: {token.string}: write {(INSTEAD | IN_NAMES)[word]}"
        elif token.type == tokenize.COMMENT or (
            token.type == tokenize.STRING and IS_PROSE(token.string)
        ):
            yield from _in_prose(line, token.string)


def _in_prose(first: int, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=first):
        for found in PROSE.finditer(line):
            yield f"line {number}: {found[0]!r}: write {INSTEAD[found[0].lower()]}"


def test_only_the_fields_words_are_used(root: Path, repository_files: list[Path]) -> None:
    found = [
        f"{path}: {breach}"
        for path in repository_files
        if path.suffix in {".py", *TEXTS} and not path.as_posix().startswith(LEFT_OUT)
        for breach in breaches(path, (root / path).read_text(encoding="utf-8"))
    ]
    assert not found, f"{len(found)} private words:\n" + "\n".join(found[:100])


@pytest.mark.parametrize(
    ("path", "text", "word"),
    [
        ("actors/a.py", "class HostDesk: ...", "root endpoint"),
        ("actors/a.py", "def ask_warden(): ...", "control actor"),
        ("actors/a.py", "x = 1  # the Warden has told it", "control actor"),
        ("actors/a.py", 'raise E(f"the steward of {x}")', "execution service"),
        ("actors/warden.py", "", "control actor"),
        ("actors/a.py", "is_unsafe = True", "non_idempotent"),
        ("docs/a.md", "Made anew, and\nbeside it.", "again"),
    ],
)
def test_a_private_word_is_noticed(path: str, text: str, word: str) -> None:
    assert any(word in breach for breach in breaches(Path(path), text))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("actors/a.py", "def look_up_nothing(): ...".replace("look_up", "lookup")),
        ("actors/a.py", "planet = besides = 1  # It is unsafe to look at a family's life."),
        ("examples/a.py", "class NodeVisitor: ..."),
        (
            "docs/a.md",
            "See [the decision](decisions/0005-messages-to-the-root.md) and `callboard-lane`.",
        ),
    ],
)
def test_other_words_are_not(path: str, text: str) -> None:
    assert list(breaches(Path(path), text)) == []
