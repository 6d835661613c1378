"""Rules of a life cycle: in the words of S3, and refused as a whole with every problem."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.metrics.tiers.rules import DEFAULT_RULES, check_datasets, width_of
from callboard.actors.storage.lifecycle import (
    DAY_S,
    LifecycleRule,
    check_rules,
    rules_from_data,
    rules_to_data,
)
from callboard.messages.core.errors import SpecError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("Rules", "ID", "Filter", "Prefix", "Transitions", "Days", "Status")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def test_the_default_rules_are_read_as_they_are_written() -> None:
    data = rules_to_data(DEFAULT_RULES)
    assert rules_from_data(data) == DEFAULT_RULES
    check_datasets(DEFAULT_RULES)
    assert data["Rules"][0] == {
        "ID": "high",
        "Status": "Enabled",
        "Filter": {"Prefix": "metrics/60s/"},
        "Transitions": [{"Days": 1.0, "StorageClass": "segments"}],
        "Expiration": {"Days": 7.0},
        "RollUp": {"To": "metrics/300s/"},
        "Compression": {"Level": 3},
    }


@given(data=JSON)
def test_anything_else_is_refused(data: Any) -> None:
    try:
        rules_from_data(data)
    except SpecError:
        return
    assert data["Rules"] == []


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("Status",), "On", "Enabled or Disabled"),
        (("Filter",), {}, "Prefix"),
        (("Transitions",), [], "rule 1"),
        (("Surprise",), 1, "Surprise"),
        (("Expiration",), {"Days": 0.5}, "expire before"),
        (("Expiration",), {"Days": float("nan")}, "expire before"),
        (("Expiration",), {"Days": 31}, "'high' and 'medium'"),
        (("RollUp",), {"To": "metrics/7s/"}, "no rule is about metrics/7s"),
        (("Filter",), {"Prefix": "metrics/300s/"}, "both are about"),
        (("Compression",), {"Level": 99}, "between 1 and 22"),
        (("ID",), "", "255"),
    ],
)
def test_a_wrong_rule_is_named(path: tuple[str, ...], value: Any, text: str) -> None:
    data = copy.deepcopy(rules_to_data(DEFAULT_RULES))
    data["Rules"][0][path[0]] = value
    with pytest.raises(SpecError, match=text):
        rules_from_data(data)


def test_all_problems_are_named_at_once() -> None:
    wrong = (
        LifecycleRule("one", "", 0.0),
        LifecycleRule("two", "metrics/60s", -1.0),
        LifecycleRule("three", "metrics/300s", 2 * DAY_S, DAY_S),
    )
    with pytest.raises(SpecError) as refused:
        check_rules(wrong)
    assert all(rule.id in str(refused.value) for rule in wrong)


@pytest.mark.parametrize("dataset", ["", "metrics", "metrics/60", "events/60s", "metrics/060s"])
def test_a_dataset_of_no_windows_is_refused(dataset: str) -> None:
    with pytest.raises(SpecError):
        width_of(dataset)


def test_windows_roll_up_into_whole_wider_ones_only() -> None:
    rules = (LifecycleRule("a", "metrics/3600s", 0.0, roll_up="metrics/300s"),)
    with pytest.raises(SpecError):
        check_datasets(rules)
