"""The contract of every object store: a dict whose values never change."""

import itertools
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.storage.objects import ObjectMissing, ObjectStore
from callboard.messages.core.errors import SpecError, UsageError
from callboard.runtime.objects.choose import object_store
from tests.thoroughness import examples, sharing_fixtures

PLACES = itertools.count(1)
NAMES = ("a", "a0.b", "a/b", "a/b/c", "ab/c", "b-1/0", "z")
BAD = (
    "",
    "/a",
    "a/",
    "a//b",
    "../a",
    "a/../b",
    ".hidden",
    "a/.b",
    "A",
    "a b",
    "ü",
    "a\0",
    "a" * 501,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(NAMES), st.binary(max_size=9)),
        st.tuples(st.just("copy"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.just("delete"), st.sampled_from(NAMES), st.none()),
    ),
    max_size=15,
)


def is_possible(name: str, seen: Iterable[str]) -> bool:
    """A folder cannot be a file too: the names of segments never ask for it.

    `seen` has all names so far: a server may keep the folder of a file that was deleted.
    """
    return not any(
        other != name and (other.startswith(f"{name}/") or name.startswith(f"{other}/"))
        for other in seen
    )


@settings(sharing_fixtures(), max_examples=examples(100))
@given(steps=STEPS)
def test_a_store_is_a_dict_whose_values_never_change(
    objects: ObjectStore, steps: list[tuple[str, str, object]]
) -> None:
    place = f"e{next(PLACES)}/"  # The last example's names may be folders of the server.
    model: dict[str, bytes] = {}
    seen: set[str] = set()
    for step, plain, value in steps:
        name = place + plain
        if step == "delete":
            objects.delete([name])
            model.pop(name, None)
        elif step == "put" and is_possible(name, seen):
            seen.add(name)
            assert isinstance(value, bytes)
            assert objects.put(name, value) == (name not in model)
            model.setdefault(name, value)
        elif step == "copy" and isinstance(value, str) and is_possible(place + value, seen):
            target = place + value
            if name in model:
                seen.add(target)
                assert objects.copy(name, target) == (target not in model)
                model.setdefault(target, model[name])
            else:
                with pytest.raises(ObjectMissing):
                    objects.copy(name, target)
    check_lists(objects, place, model)
    for plain in NAMES:
        name = place + plain
        head = objects.head(name)
        assert (None if head is None else head.size_bytes) == (
            len(model[name]) if name in model else None
        )
        if name in model:
            assert objects.get(name) == model[name]
            assert objects.read(name, 2, 3) == model[name][2:5]
            assert objects.read(name, 100, 3) == b""
        else:
            with pytest.raises(ObjectMissing):
                objects.get(name)
            with pytest.raises(ObjectMissing):
                objects.read(name, 0, 1)


def check_lists(objects: ObjectStore, place: str, model: dict[str, bytes]) -> None:
    listed = objects.objects(place)
    assert [(each.name, each.size_bytes) for each in listed] == [
        (name, len(model[name])) for name in sorted(model)
    ]
    for prefix in ("a", "a/", "a/b/", "b-", "zz"):
        wanted = sorted(name for name in model if name.startswith(place + prefix))
        assert [each.name for each in objects.objects(place + prefix)] == wanted
        for after in wanted:
            found = objects.objects(place + prefix, after=after)
            assert [each.name for each in found] == [name for name in wanted if name > after]
        found = objects.objects(place + prefix, limit=1)
        assert [each.name for each in found] == wanted[:1]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_not_every_store_can_hold_is_refused(objects: ObjectStore, name: str) -> None:
    for action in (
        lambda: objects.put(name, b""),
        lambda: objects.get(name),
        lambda: objects.read(name, 0, 1),
        lambda: objects.head(name),
        lambda: objects.delete([name]),
        lambda: objects.copy("a", name),
    ):
        with pytest.raises((UsageError, ObjectMissing)):
            action()
    assert objects.objects() == []


def test_of_many_writers_of_one_name_one_wins(objects: ObjectStore) -> None:
    barrier = threading.Barrier(8)
    won: list[int] = []

    def write(number: int) -> None:
        barrier.wait()
        if objects.put("one/name", bytes([number]) * 50_000):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert objects.get("one/name") == bytes(won) * 50_000


@pytest.mark.parametrize("url", ["", "\0", "nothing://x", "http://x/y", "s3a"])
def test_a_url_that_names_no_store_is_refused(url: str, tmp_path: Path) -> None:
    if url == "s3a":
        assert object_store(str(tmp_path / url)).name.endswith("s3a")
        return
    with pytest.raises(SpecError):
        object_store(url)
