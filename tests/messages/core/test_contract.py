"""Contracts: names, versions, fingerprints, replies, and their registry."""

import functools
import os
import subprocess
import sys
import types
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from callboard.messages.core.contract import (
    Contract,
    ContractKey,
    ContractRegistry,
    Request,
    check_depth,
    contract_key,
    reply_type,
)
from callboard.messages.core.errors import (
    InvalidMessage,
    PayloadTooLarge,
    SpecError,
    UnknownContract,
    VersionMismatch,
)
from callboard.messages.core.limits import Limits


class Findings(Contract, name="tests.contract.findings"):
    count: int


class ReviewFile(Request[Findings], name="tests.contract.review", version=3):
    path: str
    upcasters: ClassVar = {
        1: lambda fields: {"file": fields["name"]},
        2: lambda fields: {"path": fields["file"]},
    }


def class_of(body: dict[str, Any], **keywords: Any) -> type[Contract]:
    """A contract class made while running, as a `class` statement would."""
    made: type[Contract] = types.new_class(
        "Made", (Contract,), keywords, lambda space: space.update(__module__=__name__, **body)
    )
    return made


def fingerprint(cls: type[Contract]) -> int:
    return contract_key(cls).fingerprint


def with_fields(**fields: Any) -> type[Contract]:
    """A contract `tests.fields` v1 with these fields: (type, default) each."""
    made: type[Contract] = create_model(
        "Fields", __base__=Contract, __cls_kwargs__={"name": "tests.fields"}, **fields
    )
    return made


# --- contract classes ----------------------------------------------------------------------------


def test_name_and_version_are_what_the_class_keywords_say() -> None:
    key = contract_key(ReviewFile)
    assert (key.name, key.version) == ("tests.contract.review", 3)
    assert str(key).startswith("tests.contract.review v3 (schema ")


def test_name_is_module_and_class_when_none_is_given() -> None:
    class Unnamed(Contract):
        pass

    assert contract_key(Unnamed).name == f"{__name__}.{Unnamed.__qualname__}"
    assert contract_key(Unnamed).version == 1


def test_name_and_version_are_not_inherited() -> None:
    class Narrower(ReviewFile):
        line: int = 0

    assert contract_key(Narrower).name != contract_key(ReviewFile).name
    assert contract_key(Narrower).version == 1


@pytest.mark.parametrize("version", [0, -1, 1.5, "2", True, None])
def test_version_that_is_no_whole_number_from_1_on_is_a_spec_error(version: Any) -> None:
    with pytest.raises(SpecError, match="version"):
        class_of({}, version=version)


@pytest.mark.parametrize("name", ["", "x" * 201, 7, b"bytes"])
def test_name_that_is_no_text_of_1_to_200_characters_is_a_spec_error(name: Any) -> None:
    with pytest.raises(SpecError, match="name"):
        class_of({}, name=name)


def test_a_message_is_frozen_and_closed_to_unknown_fields() -> None:
    message = Findings(count=1)
    with pytest.raises(ValueError, match="frozen"):
        message.count = 2  # type: ignore[misc]
    with pytest.raises(ValueError, match="Extra inputs"):
        Findings(count=1, more=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("config", [ConfigDict(frozen=False), ConfigDict(extra="allow")])
def test_contract_that_gives_up_frozen_or_closed_is_a_spec_error(config: ConfigDict) -> None:
    opened = class_of({"model_config": config}, name="tests.opened")
    with pytest.raises(SpecError, match="frozen"):
        contract_key(opened)


def test_annotation_that_is_defined_nowhere_is_a_spec_error_naming_it() -> None:
    lost = class_of({"__annotations__": {"x": "NowhereDefined"}}, name="tests.lost")
    with pytest.raises(SpecError, match="NowhereDefined"):
        contract_key(lost)


# --- replies -------------------------------------------------------------------------------------


def test_reply_is_the_type_argument_and_is_inherited() -> None:
    class ReviewMore(ReviewFile):
        pass

    assert reply_type(ReviewFile) is Findings
    assert reply_type(ReviewMore) is Findings


def test_reply_is_none_for_none_and_for_a_contract_that_is_no_request() -> None:
    class Touch(Request[None]):
        pass

    assert reply_type(Touch) is None
    assert reply_type(Findings) is None


def test_subclass_may_name_another_reply() -> None:
    class Precise(Findings):
        exact: bool = True

    class ReviewPrecisely(ReviewFile, Request[Precise]):
        pass

    assert reply_type(ReviewPrecisely) is Precise


@pytest.mark.parametrize("reply", [int, "Findings", BaseModel, Findings | None, list[Findings]])
def test_reply_that_is_no_contract_class_is_a_spec_error(reply: Any) -> None:
    with pytest.raises(SpecError, match="as its reply"):

        class Bad(Request[reply]):
            pass


# --- fingerprints --------------------------------------------------------------------------------


def test_fingerprint_does_not_see_prose_nor_defaults() -> None:
    class First(Contract, name="tests.prose"):
        """One text."""

        x: int = Field(default=1, description="one", title="One", examples=[1])

    class Second(Contract, name="tests.prose"):
        """Another text."""

        x: int = Field(default=2, description="two", title="Two", examples=[2])

    assert fingerprint(First) == fingerprint(Second)


@pytest.mark.parametrize(
    "changed",
    [
        {"x": (str, ...)},
        {"y": (int, ...)},
        {"x": (int, ...), "y": (int, ...)},
        {"x": (int | None, ...)},
        {"x": (list[int], ...)},
        {"x": (datetime, ...)},
        {"x": (int, Field(gt=0))},
        {},
    ],
)
def test_fingerprint_sees_a_changed_field(changed: dict[str, Any]) -> None:
    assert fingerprint(with_fields(**changed)) != fingerprint(with_fields(x=(int, ...)))


@pytest.mark.parametrize(
    "field", ["title", "description", "examples", "default", "properties", "required", "enum"]
)
def test_fingerprint_sees_a_field_that_is_named_like_a_schema_keyword(field: str) -> None:
    without = fingerprint(with_fields(x=(int, ...)))
    as_text = fingerprint(with_fields(x=(int, ...), **{field: (str, ...)}))
    as_number = fingerprint(with_fields(x=(int, ...), **{field: (int, ...)}))
    assert len({without, as_text, as_number}) == 3


def test_fingerprint_sees_a_change_inside_a_nested_model() -> None:
    first = create_model("Nested", title=(str, ...))
    second = create_model("Nested", title=(int, ...))
    assert fingerprint(with_fields(x=(first, ...))) != fingerprint(with_fields(x=(second, ...)))


def test_fingerprint_of_a_type_without_json_schema_still_tells_fields_apart() -> None:
    open_config = ConfigDict(arbitrary_types_allowed=True)

    class First(Contract, name="tests.opaque"):
        model_config = open_config
        x: np.ndarray[Any, Any]

    class Second(Contract, name="tests.opaque"):
        model_config = open_config
        y: np.ndarray[Any, Any]

    assert fingerprint(First) != fingerprint(Second)


PRINT_KEYS = """
import enum
from typing import Any, Literal
from callboard.messages.core.contract import Contract, contract_key

class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

class Stable(Contract, name="tests.stable"):
    colour: Colour = Colour.RED
    tags: frozenset[str] = frozenset({"a", "b", "c", "d"})
    kind: Literal["x", "y"] | None = None
    free: dict[str, Any] = {}
    maker: object = object()

print(contract_key(Stable))
"""


def test_fingerprint_is_the_same_in_every_process_and_under_every_filter() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-W", warnings, "-c", PRINT_KEYS],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed, warnings in (("0", "ignore"), ("1", "error"), ("424242", "default"))
    }
    assert len(outputs) == 1, outputs


# --- the registry --------------------------------------------------------------------------------


def test_resolve_gives_a_builder_that_validates() -> None:
    registry = ContractRegistry()
    registry.learn(Findings)
    build = registry.resolve(*contract_key(Findings))
    assert build({"count": 3}) == Findings(count=3)
    with pytest.raises(InvalidMessage, match=r"tests.contract.findings.*count") as caught:
        build({"count": "many"})
    assert caught.value.details["contract"] == "tests.contract.findings"


def test_invalid_message_shows_three_problems_and_counts_the_others() -> None:
    many = with_fields(**{f"f{number}": (int, ...) for number in range(8)})
    registry = ContractRegistry()
    registry.learn(many)
    with pytest.raises(InvalidMessage, match="and 5 more"):
        registry.resolve(*contract_key(many))({})


def test_resolve_of_an_unknown_name_is_unknown_contract() -> None:
    with pytest.raises(UnknownContract, match=r"nobody\.knows"):
        ContractRegistry().resolve("nobody.knows", 1, 1)


def test_resolve_finds_what_is_imported_but_was_not_learned() -> None:
    class Found(Findings, name="tests.contract.found"):
        pass

    built = ContractRegistry().resolve(*contract_key(Found))({"count": 1})
    assert type(built) is Found


def test_two_schemas_of_one_version_are_refused_when_learned() -> None:
    registry = ContractRegistry()
    registry.learn(with_fields(x=(int, ...)))
    with pytest.raises(SpecError, match="two schemas"):
        registry.learn(with_fields(x=(str, ...)))


def test_same_schema_learned_twice_is_the_newer_class() -> None:
    first, second = with_fields(x=(int, ...)), with_fields(x=(int, ...))
    registry = ContractRegistry()
    registry.learn(first)
    registry.resolve(*contract_key(first))
    registry.learn(second)
    assert type(registry.resolve(*contract_key(first))({"x": 1})) is second
    assert registry.names() == ("tests.fields",)


def test_newer_version_replaces_an_older_one_in_either_order() -> None:
    class Older(Contract, name="tests.aged", version=1):
        pass

    class Newer(Contract, name="tests.aged", version=2):
        upcasters: ClassVar = {1: lambda fields: fields}

    for order in ((Older, Newer), (Newer, Older)):
        registry = ContractRegistry()
        for cls in order:
            registry.learn(cls)
        assert type(registry.resolve(*contract_key(Older))({})) is Newer


def test_another_schema_of_the_same_version_is_a_version_mismatch() -> None:
    registry = ContractRegistry()
    registry.learn(Findings)
    with pytest.raises(VersionMismatch, match=r"has schema .* here"):
        registry.resolve("tests.contract.findings", 1, 1)


# --- upcasters -----------------------------------------------------------------------------------


def test_upcasters_are_chained_to_the_version_known_here() -> None:
    registry = ContractRegistry()
    registry.learn(ReviewFile)
    assert registry.resolve("tests.contract.review", 1, 7)({"name": "a"}) == ReviewFile(path="a")
    assert registry.resolve("tests.contract.review", 2, 7)({"file": "a"}) == ReviewFile(path="a")


@pytest.mark.parametrize("version", [4, 0, -1, -(10**15)])
def test_version_that_no_chain_leads_from_is_a_mismatch_at_once(version: int) -> None:
    registry = ContractRegistry()
    registry.learn(ReviewFile)
    with pytest.raises(VersionMismatch, match="no chain of upcasters"):
        registry.resolve("tests.contract.review", version, 7)


def test_gap_in_the_chain_is_a_mismatch() -> None:
    class Gap(Contract, name="tests.gap", version=4):
        upcasters: ClassVar = {1: lambda fields: fields, 3: lambda fields: fields}

    registry = ContractRegistry()
    registry.learn(Gap)
    with pytest.raises(VersionMismatch, match="no chain"):
        registry.resolve("tests.gap", 1, 7)
    assert type(registry.resolve("tests.gap", 3, 7)({})) is Gap


def test_upcaster_that_raises_is_a_mismatch_naming_the_contract() -> None:
    registry = ContractRegistry()
    registry.learn(ReviewFile)
    with pytest.raises(VersionMismatch, match=r"tests.contract.review failed: KeyError"):
        registry.resolve("tests.contract.review", 1, 7)({"unexpected": 1})


@pytest.mark.parametrize("result", [None, [1], {"path": 3}])
def test_upcaster_that_returns_no_such_fields_is_an_invalid_message(result: Any) -> None:
    class Spoilt(Contract, name="tests.spoilt", version=2):
        path: str
        upcasters: ClassVar = {1: lambda fields: fields["result"]}

    registry = ContractRegistry()
    registry.learn(Spoilt)
    with pytest.raises(InvalidMessage, match=r"tests\.spoilt"):
        registry.resolve("tests.spoilt", 1, 7)({"result": result})


def test_fingerprints_a_peer_makes_up_do_not_pile_up() -> None:
    registry = ContractRegistry(Limits(contracts_max=10))
    registry.learn(ReviewFile)
    for number in range(100):
        registry.resolve("tests.contract.review", 1, number)
    assert len(registry._resolved) <= 10


# --- depth ---------------------------------------------------------------------------------------


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_depth_is_checked_to_the_level() -> None:
    check_depth({"x": nested(9)}, 10)
    with pytest.raises(PayloadTooLarge, match="deeper than 10"):
        check_depth({"x": nested(11)}, 10)


def test_depth_of_a_hundred_thousand_levels_is_refused_without_recursion() -> None:
    with pytest.raises(PayloadTooLarge):
        check_depth(nested(100_000), 64)


@pytest.mark.parametrize(
    "annotation",
    [Any, list, dict[str, Any], list[object], tuple[Any, ...], dict],
)
def test_free_form_fields_are_depth_checked_when_they_arrive(annotation: Any) -> None:
    free = with_fields(x=(annotation, ...))
    registry = ContractRegistry()
    registry.learn(free)
    with pytest.raises(PayloadTooLarge):
        registry.resolve(*contract_key(free))({"x": nested(100)})


def test_cached_property_is_noticed_also_when_inherited() -> None:
    class Caching(Findings):
        @functools.cached_property
        def doubled(self) -> int:
            return self.count * 2

    class Heir(Caching):
        pass

    assert (Findings.contract_caches, Caching.contract_caches, Heir.contract_caches) == (
        False,
        True,
        True,
    )


# --- types ---------------------------------------------------------------------------------------

SNIPPET = """
from typing import reveal_type
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.ref import Ref

class Findings(Contract):
    count: int

class ReviewFile(Request[Findings], name="review.file", version=2):
    path: str

class Touch(Request[None]):
    pass

async def use(ref: Ref[object]) -> None:
    reveal_type(await ref.ask(ReviewFile(path="a.py")))
    reveal_type(await ref.ask(Touch(), timeout_s=1.0))
    await ref.ask(Findings(count=1))
    ReviewFile(file="a.py")
    ReviewFile(path="a.py").path = "b.py"
"""


def test_mypy_strict_infers_the_reply_of_an_ask_without_a_cast(root: Path, tmp_path: Path) -> None:
    snippet = tmp_path / "driver.py"
    snippet.write_text(SNIPPET)
    output = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", str(snippet)],
        check=False,
        capture_output=True,
        text=True,
        cwd=root,
    ).stdout
    lines = [line.split(": ", 1)[1] for line in output.splitlines() if "driver.py" in line]
    assert lines[:2] == [
        'note: Revealed type is "driver.Findings"',
        'note: Revealed type is "None"',
    ]
    assert [line.rpartition("[")[2] for line in lines[2:]] == [
        "arg-type]",
        "call-arg]",
        "misc]",
    ]


def test_contract_key_is_a_plain_tuple_for_frames() -> None:
    assert ContractKey(*contract_key(Findings)) == contract_key(Findings)
