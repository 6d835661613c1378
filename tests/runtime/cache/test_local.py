"""The local tier against a plain dictionary, on a virtual clock."""

from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.cache.local import ENTRY_BYTES, TOMBSTONE_S, LocalCache

KEYS: Final = st.sampled_from(["a", "b", "c", "d"])
VALUES: Final = st.builds(
    lambda version, rest: version.to_bytes(8, "big") + rest,
    st.integers(0, 5),
    st.binary(max_size=20),
)
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, VALUES, st.floats(-1, 20)),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("wait"), st.floats(0, 12)),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("flush")),
    ),
    max_size=40,
)


class Time:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@given(steps=STEPS, chance=st.floats(0, 0.999), newest_wins=st.booleans())
def test_it_is_a_dictionary_that_forgets_in_time(
    steps: list[tuple[Any, ...]], chance: float, newest_wins: bool
) -> None:
    """With enough room, it equals a dictionary with expiries."""
    clock = Time()
    cache = LocalCache(newest_wins=newest_wins, clock=clock, chance=lambda: chance)
    model: dict[str, tuple[bytes | None, float]] = {}
    for step in steps:
        match step:
            case "set", key, value, ttl_s:
                before, until_s = model.get(key, (b"", 0.0))
                if newest_wins and clock() < until_s and (before is None or value[:8] < before[:8]):
                    assert not cache.write(key, value, ttl_s)
                    continue
                model.pop(key, None)
                if ttl_s > 0:
                    model[key] = (value, clock() + ttl_s * (1 - 0.1 * chance))
                cache.write(key, value, ttl_s)
            case "delete", key:
                model.pop(key, None)
                if newest_wins:
                    model[key] = (None, clock() + TOMBSTONE_S)
                cache.delete([key])
            case "wait", seconds:
                clock.now_s += seconds
            case "get", key:
                before, until_s = model.get(key, (None, 0.0))
                assert cache.read([key]) == [before if clock() < until_s else None]
            case _:
                model.clear()
                cache.clear()
    statistics = cache.statistics()
    assert statistics.bytes == sum(entry.size_bytes for entry in cache._entries.values())


@given(steps=STEPS, entries_max=st.integers(1, 3), bytes_max=st.integers(200, 1_200))
def test_bounds_hold_and_the_last_written_value_is_served(
    steps: list[tuple[Any, ...]], entries_max: int, bytes_max: int
) -> None:
    """Without room, it may forget values, but never serves a wrong one."""
    clock = Time()
    cache = LocalCache(entries_max=entries_max, bytes_max=bytes_max, clock=clock)
    model: dict[str, tuple[bytes, float]] = {}
    for step in steps:
        match step:
            case "set", key, value, ttl_s:
                cache.write(key, value, ttl_s)
                model[key] = (value, clock() + ttl_s)
            case "delete", key:
                cache.delete([key])
                model.pop(key, None)
            case "wait", seconds:
                clock.now_s += seconds
            case "get", key:
                value, until_s = model.get(key, (b"", 0.0))
                assert cache.read([key])[0] in (None, value if clock() < until_s else None)
            case _:
                cache.clear()
        statistics = cache.statistics()
        assert statistics.entries <= entries_max
        assert statistics.bytes <= bytes_max


def test_the_least_recently_read_entry_goes_first() -> None:
    cache = LocalCache(entries_max=2)
    cache.write("a", b"1", 60)
    cache.write("b", b"2", 60)
    assert cache.read(["a"]) == [b"1"]
    cache.write("c", b"3", 60)
    assert cache.read(["a", "b", "c"]) == [b"1", None, b"3"]
    assert cache.statistics().evicted == 1


def test_a_value_that_is_too_large_leaves_no_earlier_one() -> None:
    cache = LocalCache(bytes_max=ENTRY_BYTES + 10)
    assert cache.write("a", b"small", 60)
    assert not cache.write("a", b"x" * 100, 60)
    assert cache.read(["a"]) == [None]
    assert cache.statistics().too_large == 1


def test_an_entry_older_than_the_moment_of_trust_is_not_served() -> None:
    clock = Time()
    cache = LocalCache(clock=clock)
    cache.write("a", b"1", 60, as_of_s=90.0)
    assert cache.read(["a"], not_before_s=90.5) == [None]
    assert cache.read(["a"], not_before_s=89.5) == [b"1"]
    assert cache.statistics().distrusted == 1
