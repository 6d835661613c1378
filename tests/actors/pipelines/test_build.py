"""A wrong pipeline is refused whole, with every problem and its place."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.pipelines.build import build_pipeline
from callboard.actors.pipelines.errors import PipelineRefused, ProcessorNotFoundError
from callboard.actors.pipelines.files import pipeline_from_data, read_pipeline
from callboard.actors.pipelines.schemas import mismatches
from callboard.actors.pipelines.spec import (
    DataPipeline,
    ErrorHandlingStrategy,
    ErrorPolicy,
    PipelineStage,
    StagePlacement,
)
from callboard.messages.core.errors import UsageError
from tests.thoroughness import examples

GOOD = """\
name: orders
version: 2
stages:
  - name: parse
    type: parse
    output_schema:
      type: object
      required: [id, amount]
      properties: {id: {type: integer}, amount: {type: number}}
  - name: big
    type: filter
    configuration: {where: amount >= 10, reason: small}
    error_handling: {policy: retry, attempts_max: 5, backoff: {min_s: 1, max_s: 2}, then: drop}
monitoring: {letters_max: 5}
"""


def refused(spec: DataPipeline) -> list[str]:
    with pytest.raises(PipelineRefused) as caught:
        build_pipeline(spec)
    problems: list[str] = caught.value.details["problems"]
    return problems


def written(tmp_path: Path, text: str, name: str = "orders.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_file_becomes_a_pipeline(tmp_path: Path) -> None:
    spec = read_pipeline(written(tmp_path, GOOD))
    assert (spec.name, spec.version, spec.monitoring.letters_max) == ("orders", 2, 5)
    strategy = spec.stages[1].error_handling
    assert strategy is not None
    assert (strategy.policy, strategy.then) == (ErrorPolicy.RETRY, ErrorPolicy.DROP)
    assert (strategy.attempts_max, strategy.backoff.max_s) == (5, 2.0)
    build_pipeline(spec)


def test_json_is_read_as_well(tmp_path: Path) -> None:
    data = {"name": "x", "stages": [{"name": "s", "type": "clean", "timeout_s": 1e1}]}
    spec = read_pipeline(written(tmp_path, json.dumps(data), "x.json"))
    assert spec.stages[0].timeout_s == 10.0


def test_every_problem_has_its_line(tmp_path: Path) -> None:
    text = (
        GOOD.replace("type: parse", "type: prase")
        .replace("where: amount >= 10", "where: amount >=")
        .replace("reason: small", "reason: 7, because: x")
        .replace("attempts_max: 5", "attempts_max: 0")
    )
    spec = read_pipeline(written(tmp_path, text))
    problems = refused(spec)
    assert [problem.partition(" (")[0] for problem in problems] == [
        "orders.yaml, line 5",
        "orders.yaml, line 13",
        *["orders.yaml, line 12"] * 3,
    ]
    for part, problem in zip(
        ("'prase' is no stage type", "attempts_max", "'amount >=' is wrong", "must be a text",
         "because"), problems, strict=False,
    ):  # fmt: skip
        assert part in " ".join(problems), problem


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("name: x", "stages", "missing"),
        ("name: x\nstages: 3", "line 2", "list of stages"),
        ("name: x\nstages: []\nnmae: y", "line 3", "unknown"),
        ("name: x\nname: y\nstages: []", "line 2", "twice"),
        ("name: [x", "line 1", ""),
        ("a: &a [1]\nb: *a", "line", ""),
        ("name: !!python/object:os.system x\nstages: []", "line 1", "constructor"),
        ("", "the file", "mapping"),
        ("name: x\nstages:\n- {name: s, type: clean, timeout_s: soon}", "line 3", "number"),
        ("name: x\nstages:\n- {name: s, type: clean, placement: moon}", "line 3", "choose"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(
    tmp_path: Path, text: str, where: str, what: str
) -> None:
    with pytest.raises(PipelineRefused) as caught:
        read_pipeline(written(tmp_path, text))
    assert where in str(caught.value)
    assert what in str(caught.value)


def test_a_file_with_aliases_is_refused_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "name: p\na: &a [x]\nb: [*a, *a]\n")
    with pytest.raises(PipelineRefused, match=r"orders\.yaml, line 3: aliases are not supported"):
        read_pipeline(path)


def test_a_missing_file_is_an_error_of_its_user(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml"):
        read_pipeline(tmp_path / "none.yaml")


def test_an_unknown_type_alone_has_its_own_error() -> None:
    with pytest.raises(ProcessorNotFoundError, match="'sing'"):
        build_pipeline(DataPipeline("x", (PipelineStage("s", "sing"),)))


def test_neighbours_whose_schemas_do_not_fit_are_refused() -> None:
    given_ = {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "string"}, "note": {"type": "string"}},
    }
    needed = {
        "type": "object",
        "required": ["id", "note", "amount"],
        "properties": {"id": {"type": "integer"}},
    }
    problems = refused(
        DataPipeline(
            "x",
            (
                PipelineStage("a", "parse", output_schema=given_),
                PipelineStage("b", "clean", input_schema=needed),
            ),
        )
    )
    text = " ".join(problems)
    assert all("stages[1].input_schema" in problem for problem in problems)
    assert "'note' may be missing" in text
    assert "'amount' is missing" in text
    assert "id may be string, and the next stage needs integer" in text


def test_what_types_say_of_their_output_counts() -> None:
    columns = {"columns": {"x": "float64", "name": "str"}}
    stages = (
        PipelineStage("a", "clean", input_schema=columns),
        PipelineStage("b", "transform", configuration={"rename": {"x": "y"}}),
    )
    fits = PipelineStage("c", "filter", input_schema={"columns": {"y": "float64"}},
                         configuration={"where": "y > 0"})  # fmt: skip
    build_pipeline(DataPipeline("x", (*stages, fits)))
    other = PipelineStage("c", "filter", input_schema={"columns": {"x": "int64"}},
                          configuration={"where": "x > 0"})  # fmt: skip
    (problem,) = refused(DataPipeline("x", (*stages, other)))
    assert "column 'x' is missing" in problem
    rows = PipelineStage("c", "clean", input_schema={"type": "object"})
    (problem,) = refused(DataPipeline("x", (*stages, rows)))
    assert "gives columns, and the next stage needs rows" in problem


@pytest.mark.parametrize(
    ("given_", "needed", "fits"),
    [
        ({}, {"type": "object", "required": ["a"]}, True),
        ({"type": "integer"}, {"type": "number"}, True),
        ({"type": "number"}, {"type": "integer"}, False),
        ({"type": ["string", "null"]}, {"type": "string"}, False),
        ({"enum": ["a"]}, {"enum": ["a", "b"]}, True),
        ({"enum": ["a", "c"]}, {"enum": ["a", "b"]}, False),
        ({"minimum": 0}, {"minimum": 1}, False),
        ({"columns": {"a": "U5"}}, {"columns": {"a": "str"}}, True),
        ({"columns": {"a": "float32"}}, {"columns": {"a": "float64"}}, False),
    ],
)
def test_schemas_fit(given_: Any, needed: Any, fits: bool) -> None:
    assert (not list(mismatches(given_, needed))) is fits


def test_wrong_values_and_orders_are_refused() -> None:
    problems = refused(
        DataPipeline(
            "a/b",
            (
                PipelineStage("s", "clean", timeout_s=float("inf"), placement=StagePlacement.POOL),
                PipelineStage("s", "aggregate", configuration={"compute": {"n": "count()"}},
                              placement=StagePlacement.POOL),
                PipelineStage("t", "clean", input_schema={"type": "nothing"}),
            ),
            version=0,
            error_handling=ErrorHandlingStrategy(then=ErrorPolicy.RETRY),
        )
    )  # fmt: skip
    text = "\n".join(problems)
    for part in ("name:", "version:", "earlier stage", "timeout_s", "JSON Schema", ".then",
                 "keeps rows runs here"):  # fmt: skip
        assert part in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["name", "type", "stages", "configuration", "where", "x",
                         "output_schema", "error_handling", "policy", "schema"]), inner,
        max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=examples(400))
@given(st.sampled_from(["parse", "clean", "validate", "enrich", "filter", "transform",
                        "aggregate", "format", "route", "no"]), JSON, JSON)  # fmt: skip
def test_whatever_a_file_says_it_builds_or_is_refused(kind: str, one: Any, other: Any) -> None:
    for data in (one, {"name": "x", "stages": [{"name": "s", "type": kind,
                 "configuration": one, "output_schema": other}]}):  # fmt: skip
        with contextlib.suppress(PipelineRefused):
            build_pipeline(pipeline_from_data(data))


@settings(max_examples=examples(200))
@given(st.binary(max_size=60))
def test_whatever_bytes_are_in_a_file_they_are_read_or_refused(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        with pytest.raises((PipelineRefused, UsageError)):
            read_pipeline(file.name)
