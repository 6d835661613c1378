"""Read one source file without failing, and cache the data that analysers derive from it.

A defect of a file is a `Problem`, which each affected agent reports as a finding. Every outcome
depends on the bytes alone: a count limits the depth of a tree, not the remaining stack of Python's
recursion.

A `SourceFile` caches text, lines, tree and comments. One thread at a time uses it, because bandit
writes attributes on the nodes of the tree.
"""

import ast
import io
import os
import re
import stat
import threading
import tokenize
import warnings
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from .finding import Severity

__all__ = [
    "SIZE_BYTES_MAX",
    "TREE_DEPTH_MAX",
    "Problem",
    "SourceFile",
    "load_source",
    "local_name",
    "portable_name",
]

SIZE_BYTES_MAX: Final = 2_000_000
"""A larger file is reported, not analysed. It is usually generated, and would delay its batch."""

TREE_DEPTH_MAX: Final = 150
"""Deeper nesting is reported. Analysers use three frames per level, and Python allows 1,000 frames,
some of them for the caller. This is five times the depth of the deepest tree in Python's standard
library."""

_NEWLINE: Final = re.compile(r"\r\n|\r|\n")
_DIRECTIVE: Final = re.compile(r"#.*?(?:noqa|nosec)", re.IGNORECASE)
_ESCAPED_BYTE: Final = re.compile(r"\\x([89a-f][0-9a-f])")

# warnings.catch_warnings changes process-wide state and is not thread-safe.
_PARSE_LOCK: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file cannot be analysed, or only in part."""

    rule: str
    message: str
    severity: Severity = Severity.MEDIUM
    line: int = 1


class SourceFile:
    """One file of the reviewed tree: its bytes, and on demand its text and syntax tree.

    `path` is relative to the root of the tree, with forward slashes. `location` is for tools that
    read files themselves. It must never appear in a finding.
    """

    def __init__(
        self,
        path: str,
        data: bytes = b"",
        *,
        problem: Problem | None = None,
        location: Path | None = None,
    ) -> None:
        self.path: Final = path
        self.data: Final = data
        self.location: Final = location
        self._load_problem: Final = problem

    def __repr__(self) -> str:
        return f"SourceFile({self.path!r}, {len(self.data)} bytes)"

    @cached_property
    def _decoded(self) -> tuple[str, str] | Problem:
        """The text and its encoding."""
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(self.data).readline)
            return self.data.decode(encoding), encoding
        except SyntaxError as error:
            return Problem("unparsable", f"the encoding is unknown or wrong: {error.msg}")
        except UnicodeDecodeError as error:
            line = len(_NEWLINE.findall(self.data[: error.start].decode("latin-1"))) + 1
            what = f"byte 0x{self.data[error.start]:02x} is not {error.encoding}"
            return Problem("unparsable", f"{what}, and no cookie names another encoding", line=line)
        except (LookupError, ValueError):
            return Problem(
                "unparsable", "the encoding that its cookie names is not a text encoding"
            )

    @cached_property
    def problem(self) -> Problem | None:
        """Why there is no text, or None."""
        if self._load_problem is not None:
            return self._load_problem
        return self._decoded if isinstance(self._decoded, Problem) else None

    @property
    def text(self) -> str:
        """The decoded text. Only for a file without `problem`."""
        assert not isinstance(self._decoded, Problem)
        return self._decoded[0]

    @property
    def is_utf8(self) -> bool:
        """Whether the bytes are UTF-8, the only encoding that some tools read."""
        if isinstance(self._decoded, Problem):
            return False
        return self._decoded[1] in {"utf-8", "utf-8-sig"} or self.data.isascii()

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines as Python counts them: a form feed does not end a line."""
        return tuple(_NEWLINE.split(self.text))

    @cached_property
    def _line_starts(self) -> tuple[int, ...]:
        return (0, *(match.end() for match in _NEWLINE.finditer(self.text)))

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of a character offset into `text`."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def column(self, line: int, offset_bytes: int) -> int:
        """The column in characters, from 1, for `ast`'s offset in UTF-8 bytes."""
        if not 1 <= line <= len(self.lines):
            return offset_bytes + 1
        prefix = self.lines[line - 1].encode("utf-8", "replace")[:offset_bytes]
        return len(prefix.decode("utf-8", "replace")) + 1

    @cached_property
    def _parsed(self) -> tuple[ast.Module, tuple[ast.AST, ...]] | Problem:
        if self.problem is not None:
            return self.problem
        too_deep = Problem(
            "too-deep", f"nested deeper than {TREE_DEPTH_MAX} levels: not analysed", Severity.LOW
        )
        try:
            with _PARSE_LOCK, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self.text)
        except SyntaxError as error:
            return Problem("unparsable", f"no valid Python: {error.msg}", line=error.lineno or 1)
        except ValueError:
            return Problem("unparsable", "no valid Python: it contains null bytes")
        except (RecursionError, MemoryError):
            return too_deep
        nodes = _flatten(tree)
        return too_deep if nodes is None else (tree, nodes)

    @cached_property
    def parse_problem(self) -> Problem | None:
        """Why there is no tree, or None."""
        return self._parsed if isinstance(self._parsed, Problem) else None

    @property
    def tree(self) -> ast.Module:
        """The syntax tree, parsed once. Only for a file without `parse_problem`."""
        assert not isinstance(self._parsed, Problem)
        return self._parsed[0]

    @property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All nodes of the tree, each before its children."""
        assert not isinstance(self._parsed, Problem)
        return self._parsed[1]

    @cached_property
    def comments(self) -> Mapping[int, str]:
        """The comments by line; empty unless one may contain `noqa` or `nosec`.

        Tokenising costs more than parsing, and such comments are rare.
        """
        if not _DIRECTIVE.search(self.text):
            return {}
        found: dict[int, str] = {}
        try:
            for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
                if token.type == tokenize.COMMENT:
                    found[token.start[0]] = token.string
        except (tokenize.TokenError, SyntaxError):
            pass  # Keep the comments before the error.
        return found


def _flatten(tree: ast.Module) -> tuple[ast.AST, ...] | None:
    """All nodes, breadth first, or None when the tree is too deep."""
    nodes: list[ast.AST] = []
    level: list[ast.AST] = [tree]
    for _ in range(TREE_DEPTH_MAX):
        nodes += level
        below: list[ast.AST] = []
        for node in level:
            for name in node._fields:
                value = getattr(node, name, None)
                if isinstance(value, ast.AST):
                    below.append(value)
                elif isinstance(value, list):
                    below += [item for item in value if isinstance(item, ast.AST)]
        if not below:
            return tuple(nodes)
        level = below
    return None


def portable_name(name: str) -> str:
    r"""`name` as encodable text: bytes that are not UTF-8 become `\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def local_name(name: str) -> str:
    """The name in the file system for a `portable_name` with escaped bytes."""
    raw = bytearray()
    end = 0
    for match in _ESCAPED_BYTE.finditer(name):
        raw += name[end : match.start()].encode() + bytes.fromhex(match[1])
        end = match.end()
    return os.fsdecode(bytes(raw + name[end:].encode()))


def load_source(root: Path, path: str) -> SourceFile:
    """Read `path` under `root`. An error becomes the problem of the file.

    Never raises for any entry of a file system, and never blocks on a pipe.
    """
    location = root / path
    if _ESCAPED_BYTE.search(path) and not os.path.lexists(location):
        location = root / local_name(path)
    try:
        data = _read(location)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problem = Problem("unreadable", f"cannot be read: {reason}")
        return SourceFile(path, problem=problem, location=location)
    except ValueError:
        problem = Problem("unreadable", "cannot be read: its name holds a null byte")
        return SourceFile(path, problem=problem)
    if isinstance(data, Problem):
        return SourceFile(path, problem=data, location=location)
    return SourceFile(path, data, location=location)


def _read(location: Path) -> bytes | Problem:
    # O_NONBLOCK, because opening a pipe without a writer would wait for ever.
    descriptor = os.open(location, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Problem("unreadable", "cannot be read: not a regular file")
        if status.st_size <= SIZE_BYTES_MAX:
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                data = stream.read(SIZE_BYTES_MAX + 1)
            if len(data) <= SIZE_BYTES_MAX:
                return data
    finally:
        os.close(descriptor)
    limit = f"larger than {SIZE_BYTES_MAX:,} bytes: not analysed"
    return Problem("too-large", limit, Severity.LOW)
