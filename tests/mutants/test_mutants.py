"""What is a mutant, what is none, and how a sample stays as it is."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .mutants import Mutant, mutants_of, sampled
from .operators import OPERATORS, RemoveStatement
from .targets import files_of

CODE: Final = '''"""A module."""

LIMIT: Final = 512
Kind = int | str


@dataclass(frozen=True)
class Counter:
    count: int = 0

    def __init__(self) -> None:
        self.count = 0

    def __repr__(self) -> str:
        return f"{self.count + 1}"

    def add(self, more: int | None = None) -> "int | None":
        """Add 1."""
        assert more is not None
        LOGGER.warning("%s", more + 1)
        if more < 0 and isinstance(more, int | float):
            raise ValueError(f"{more + 1} is too few")
        é = "é"; self.count += more
        for one, other in zip(self.a, self.b, strict=True):
            self.forget(one)
        return self.count
'''


def names(code: str, file: str = "actors/a/core.py") -> set[tuple[str, str, str]]:
    return {(each.function, each.operator, each.source) for each in mutants_of(file, code)}


def test_what_can_be_a_defect_is_a_mutant_and_nothing_else() -> None:
    add = "Counter.add"
    condition = "if more < 0 and isinstance(more, int | float):"
    assert names(CODE) == {
        ("Counter", "NumberReplacer", "count: int = 0"),
        ("Counter.__init__", "NumberReplacer", "self.count = 0"),
        (add, "AddNot", condition),
        (add, "NumberReplacer", condition),
        (add, "ReplaceAndWithOr", condition),
        (add, "ReplaceComparisonOperator_Lt_LtE", condition),
        (add, "ReplaceComparisonOperator_Lt_GtE", condition),
        (add, "RemoveStatement", 'raise ValueError(f"{more + 1} is too few")'),
        (add, "RemoveStatement", 'é = "é"; self.count += more'),
        (add, "ZeroIterationForLoop", "for one, other in zip(self.a, self.b, strict=True):"),
        (add, "RemoveStatement", "self.forget(one)"),
    }


def test_a_mutant_is_one_line_that_is_different() -> None:
    for mutant in mutants_of("actors/a/core.py", CODE):
        before, after = CODE.splitlines(), mutant.code(CODE).splitlines()
        changed = [line for line, pair in enumerate(zip(before, after, strict=True), 1)
                   if pair[0] != pair[1]]  # fmt: skip
        assert changed == [mutant.line]
        assert before[mutant.line - 1].strip() == mutant.source
        assert after[mutant.line - 1].strip() == mutant.becomes(CODE)


def test_every_file_of_the_kernel_has_mutants_of_different_names(root: Path) -> None:
    seen: dict[str, Mutant] = {}
    files = files_of(root)[::4]
    for file in files:
        text = (root / file).read_text(encoding="utf-8")
        for mutant in mutants_of(file, text):
            assert seen.setdefault(mutant.name, mutant) is mutant
    assert len(seen) > 200


def test_a_statement_of_each_kind_is_removed() -> None:
    for example in RemoveStatement.examples():
        code = f"{example.pre_mutation_code}"
        found = [m for m in mutants_of("a.py", code) if m.operator == "RemoveStatement"]
        assert [m.code(code) for m in found] == [example.post_mutation_code]


@pytest.mark.parametrize("code", ["a = b()\n", "a\n", "a.b\n", "a: int = 1\n", '"""Text."""\n'])
def test_a_statement_whose_absence_any_test_sees_stays(code: str) -> None:
    assert not any(m.operator == "RemoveStatement" for m in mutants_of("a.py", code))


@pytest.mark.parametrize(
    "code", ["def f(*, a, b):\n    g(*a, **b)\n", "def f(a, /, b):\n    [*a]\n"]
)
def test_a_star_without_two_operands_is_no_product(code: str) -> None:
    assert {m.operator for m in mutants_of("a.py", code)} <= {"RemoveStatement"}


def test_every_mutant_of_a_file_compiles(root: Path) -> None:
    text = (root / "runtime/stores/postgres/core.py").read_text(encoding="utf-8")
    for mutant in mutants_of("runtime/stores/postgres/core.py", text):
        compile(mutant.code(text), mutant.file, "exec")


def test_the_operators_of_the_table_are_those_of_the_tool() -> None:
    assert len(OPERATORS) > 30


@given(lines=st.integers(1, 30), seed=st.integers())
def test_lines_above_change_no_name_and_no_sample(lines: int, seed: int) -> None:
    here = list(mutants_of("actors/a/core.py", CODE))
    lower = CODE.replace("LIMIT: Final", "# Text.\n" * lines + "LIMIT: Final")
    there = list(mutants_of("actors/a/core.py", lower))
    assert [each.name for each in there] == [each.name for each in here]
    assert [each.name for each in sampled(there, seed, 5)] == [
        each.name for each in sampled(here, seed, 5)
    ]


@given(seed=st.integers())
def test_a_mutant_more_takes_one_place_of_a_sample_at_most(seed: int) -> None:
    here = list(mutants_of("actors/a/core.py", CODE))
    more = [*mutants_of("actors/b/core.py", "def f(a):\n    del a[0]\n")]
    before = {each.name for each in sampled(here, seed, 6)}
    after = {each.name for each in sampled([*here, *more], seed, 6)}
    assert len(before - after) <= len(more)


def test_a_sample_is_drawn_by_its_seed() -> None:
    here = list(mutants_of("actors/a/core.py", CODE))
    drawn = {tuple(each.name for each in sampled(here, seed, 5)) for seed in range(9)}
    assert len(drawn) > 5
    assert sorted(each.name for each in sampled(here, 1, None)) == sorted(m.name for m in here)
