"""The contract of every store of read models: dicts that move from position to position."""

import itertools
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.storage.stores import ReadModelStore
from tests.thoroughness import examples, sharing_fixtures

OpenModels = Callable[[], ReadModelStore]
KEYS = ("", "a", "a/1", "a/2", "b", "ü", "%_", "\U0001f4d6")
NAMES = itertools.count(1)
CHANGES = st.dictionaries(
    st.sampled_from(KEYS), st.one_of(st.none(), st.binary(max_size=4)), max_size=5
)
STEPS = st.lists(st.tuples(st.booleans(), st.integers(1, 3), CHANGES), max_size=10)


@settings(sharing_fixtures(), max_examples=examples(60))
@given(
    steps=STEPS,
    prefix=st.sampled_from(["", "a", "a/", "%", "ü"]),
    after=st.sampled_from(["", *KEYS]),
    limit=st.integers(1, 4),
)
def test_a_model_is_a_dict_with_a_position(
    open_models: OpenModels,
    steps: list[tuple[bool, int, dict[str, bytes | None]]],
    prefix: str,
    after: str,
    limit: int,
) -> None:
    store, name = open_models(), f"model-{next(NAMES)}"
    values: dict[str, bytes] = {}
    position = 0
    for is_there, by, changes in steps:
        before = position if is_there else position + 7
        assert store.apply(name, before, before + by, changes) is is_there
        if is_there:
            position += by
            for key, value in changes.items():
                if value is None:
                    values.pop(key, None)
                else:
                    values[key] = value
        assert store.position(name) == position
        assert store.get_many(name, KEYS) == [values.get(key) for key in KEYS]
    found = [
        (key, values[key])
        for key in sorted(values)
        if key.startswith(prefix) and (not after or key > after)
    ]
    assert store.items(name, prefix, after=after, limit=limit) == found[:limit]
    store.drop(name)
    assert (store.position(name), store.items(name)) == (0, [])


def test_two_writers_of_the_same_events_apply_them_once(open_models: OpenModels) -> None:
    first, second = open_models(), open_models()
    assert first.apply("m", 0, 3, {"a": b"1"})
    assert not second.apply("m", 0, 3, {"a": b"2"})
    assert second.apply("m", 3, 4, {"b": b"2"})
    assert first.items("m") == [("a", b"1"), ("b", b"2")]


def test_a_name_means_another_model_from_one_moment_on(open_models: OpenModels) -> None:
    first, second = open_models(), open_models()
    assert first.meaning("m") == "m"
    first.promote("m", "m-2")
    assert second.meaning("m") == "m-2"
    first.promote("m", "m-3")
    assert second.meaning("m") == "m-3"


def test_many_keys_at_once(open_models: OpenModels) -> None:
    store = open_models()
    values: dict[str, bytes | None] = {f"{number:06}": b"x" for number in range(25_000)}
    assert store.apply("m", 0, 1, values)
    assert store.get_many("m", list(values)) == [b"x"] * len(values)
    assert [key for key, _ in store.items("m", after="000009", limit=2)] == ["000010", "000011"]
    assert store.apply("m", 1, 2, dict.fromkeys(values))
    assert store.items("m") == []
    store.close()
    store.close()
