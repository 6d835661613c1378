"""Run bandit's tests on a parsed tree.

Bandit's manager opens files, prints, and exits the process on Ctrl-C, and its traversal reads the
module's name from the file system. So this uses only bandit's tests and its traversal. It does the
bookkeeping only for nodes that have a test, which halves the time.

Importing this module imports bandit, which changes the format of warnings in the whole process: see
`bandit_security.py`.
"""

import ast
import io
from typing import Any, Final

from bandit.core import config, node_visitor, test_set, tester, utils

from ..source import SourceFile

__all__ = ["BanditRun", "FailingTestError", "new_test_set"]

TESTS_LEFT_OUT: Final = ("B613",)
"""Bidirectional text: bandit counts lines by form feeds. The text agent checks it instead."""


class FailingTestError(Exception):
    """A test of bandit raised. Bandit itself only logs it."""


def new_test_set() -> Any:
    """All tests of bandit, with its default configuration."""
    return test_set.BanditTestSet(config.BanditConfig(), {"exclude": list(TESTS_LEFT_OUT)})


class _Tester(tester.BanditTester):  # type: ignore[misc]
    @staticmethod
    def report_error(test: str, context: object, error: Exception) -> None:  # noqa: ARG004
        raise FailingTestError(test) from error


class BanditRun(node_visitor.BanditNodeVisitor):  # type: ignore[misc]
    """One run over one file. `issues()` gives the findings of the tests."""

    def __init__(self, file: SourceFile, tests: Any) -> None:
        # super().__init__ would derive the namespace from __init__.py files on disk.
        self.debug = False
        self.nosec_lines: dict[int, set[str]] = {}
        self.scores = {"SEVERITY": [0] * 4, "CONFIDENCE": [0] * 4}
        self.depth = 0
        self.fname = file.path
        self.fdata = io.BytesIO(file.data)
        self.metaast = None
        self.testset = tests
        self.imports: set[str] = set()
        self.import_aliases: dict[str, str] = {}
        self.tester = _Tester(tests, debug=False, nosec_lines={}, metrics=None)
        self.namespace = file.path.removesuffix(".py").replace("/", ".")
        self.metrics = None
        self._tree = file.tree
        self._has_work: dict[type[ast.AST], bool] = {}

    def issues(self) -> list[Any]:
        """The issues of all tests.

        Raises FailingTestError when a test raises.
        """
        self.generic_visit(self._tree)
        issues: list[Any] = self.tester.results
        return issues

    def _is_tested(self, kind: type[ast.AST]) -> bool:
        known = self._has_work.get(kind)
        if known is None:
            name = kind.__name__
            known = hasattr(self, f"visit_{name}") or bool(self.testset.get_tests(name))
            self._has_work[kind] = known
        return known

    def pre_visit(self, node: ast.AST) -> bool:
        """Set up the context, for nodes that have a test."""
        if self._is_tested(type(node)):
            self.context = {
                "imports": self.imports,
                "import_aliases": self.import_aliases,
                "node": node,
                "linerange": utils.linerange(node),
                "filename": self.fname,
                "file_data": self.fdata,
            }
            for name in ("lineno", "col_offset", "end_col_offset"):
                if hasattr(node, name):
                    self.context[name] = getattr(node, name)
        return True

    def visit(self, node: ast.AST) -> None:
        """Run the tests for this node's type."""
        if self._is_tested(type(node)):
            super().visit(node)

    def post_visit(self, node: ast.AST) -> None:
        """Leave the namespace of a function or class."""
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            self.namespace = utils.namespace_path_split(self.namespace)[0]

    def update_scores(self, scores: dict[str, list[int]]) -> None:
        """Do nothing: bandit's scores are not used."""
