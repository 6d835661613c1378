"""The modules that code needs, what a host can find of them, and what a driver may ship."""

import asyncio
import pathlib
import pickle
import sys
from collections.abc import Iterator

import cloudpickle
import pytest

import callboard
from callboard.messages.core.errors import ClusterError, SpecError
from callboard.messages.core.ref import Address, Ref
from callboard.runtime.hosting.inventory import FindModules, Inventory, modules_of
from callboard.runtime.hosting.shipping import checked_modules
from callboard.runtime.hosting.wiring import CloudPickler, pickles_of

PACKAGE = pathlib.Path(callboard.__file__).parent


def _bound(address: Address) -> Ref[object]:
    raise AssertionError(address)


@pytest.fixture
def shop(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A package on the path of this process, until the test removes it."""
    package = tmp_path / "shop_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "prices.py").write_text("class Price:\n    pass\n\nclass Other:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.startswith("shop_of_test")]:
        del sys.modules[name]


@pytest.mark.usefixtures("shop")
def test_modules_are_read_from_pickles_without_running_them() -> None:
    from shop_of_test import prices  # type: ignore[import-not-found]

    for protocol in range(4, pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps([prices.Price, prices.Other, prices.Price(), [1, "x"]], protocol)
        assert modules_of(data) == {"shop_of_test.prices"}
    assert modules_of(pickle.dumps([1, "os", pathlib.PurePath("a"), callboard.Actor])) == set()


@pytest.mark.usefixtures("shop")
def test_modules_that_code_by_value_refers_to_are_found() -> None:
    from shop_of_test import prices

    def uses() -> object:
        return prices.Price()

    uses.__module__ = "__main__"
    assert "shop_of_test.prices" in modules_of(cloudpickle.dumps(uses))


def test_a_pickle_with_classes_by_value_has_two_parts() -> None:
    class Local:
        pass

    data = CloudPickler(_bound).dumps([Local])
    assert len(pickles_of(data)) == 2
    assert pickles_of(CloudPickler(_bound).dumps([1])) == (CloudPickler(_bound).dumps([1]),)


def test_a_host_names_what_it_cannot_find_and_its_node(shop: pathlib.Path) -> None:
    (shop / "broken").mkdir()
    (shop / "broken" / "__init__.py").write_text("1 / 0")
    inventory = Inventory(lambda: "worker (192.0.2.11)")

    async def find(*modules: str) -> tuple[dict[str, str], str]:
        found = await inventory.find_modules(FindModules(modules=modules))
        return found.missing, found.node

    missing, node = asyncio.run(
        find("shop_of_test.prices", "shop_of_test.sales", "no_shop.sales", "shop_of_test.broken.x")
    )
    assert node == "worker (192.0.2.11)"
    assert missing.keys() == {"shop_of_test.sales", "no_shop.sales", "shop_of_test.broken.x"}
    assert missing["shop_of_test.sales"] == "there is no module 'shop_of_test.sales'"
    assert missing["no_shop.sales"] == "there is no module 'no_shop'"
    assert "ZeroDivisionError" in missing["shop_of_test.broken.x"]
    assert asyncio.run(find("shop_of_test.prices", "sys")) == ({}, "")


def test_what_cannot_be_loaded_names_module_and_node(shop: pathlib.Path) -> None:
    from shop_of_test import prices

    data = CloudPickler(_bound).dumps([prices.Price])
    (shop / "prices.py").unlink()
    for name in ("shop_of_test.prices", "shop_of_test"):
        del sys.modules[name]
    with pytest.raises(ClusterError) as caught:
        CloudPickler(_bound, lambda: "worker (192.0.2.11)").loads(data)
    assert "node worker (192.0.2.11)" in caught.value.message
    assert "shop_of_test.prices" in caught.value.message
    assert "--ship" in caught.value.advice


def test_packages_and_modules_can_be_shipped(shop: pathlib.Path, tmp_path: pathlib.Path) -> None:
    single = tmp_path / "single.py"
    single.write_text("")
    assert checked_modules([str(shop), str(single)]) == [str(shop), str(single)]
    assert checked_modules(()) == []


def test_what_would_hide_other_modules_is_not_shipped(
    shop: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "json.py").write_text("")
    (tmp_path / "two-words.py").write_text("")
    other = tmp_path / "other" / "shop_of_test"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    repository = PACKAGE.parents[1]
    refused = {
        "no such folder": ([tmp_path / "none"], "does not exist"),
        "a project": ([tmp_path], "no package"),
        "a text": ([tmp_path / "notes.txt"], "no Python module"),
        "a part": ([shop / "prices.py"], "a part of the package 'shop_of_test'"),
        "Python's own": ([tmp_path / "json.py"], "Python's own library"),
        "no name": ([tmp_path / "two-words.py"], "cannot be imported"),
        "twice": ([shop, other], "has the name of"),
        "Callboard": ([PACKAGE], "a part of Callboard"),
        "the repository": ([repository], "cannot be shipped"),
    }
    if (repository / "messages").is_dir():  # In a clone.
        refused["a folder of Callboard"] = ([repository / "messages"], "a part of Callboard")
    for case, (paths, said) in refused.items():
        with pytest.raises(SpecError) as caught:
            checked_modules(map(str, paths))
        assert said in caught.value.message, case
        assert caught.value.details["field"] == "modules", case
        assert caught.value.advice, case
