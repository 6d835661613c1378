"""A node that has another release of Callboard is refused by its name and its versions.

Each node is real: its workers find another copy of Callboard first on their path.
"""

import pathlib
import shutil
from collections.abc import Callable

import pytest

import callboard
from callboard.runtime.engines.ray.release import Release, installed, release_of, this_release

from .test_ends import Driver

PACKAGE = pathlib.Path(callboard.__file__).parent

NODES = """
os.environ["RAY_AUTH_MODE"] = "disabled"
from ray.cluster_utils import Cluster

async def refused(cluster, path):
    other = cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": path})
    cluster.wait_for_nodes()
    try:
        async with start(address=cluster.address, hosts=2, standbys=0) as system:
            say(living=system.living_hosts)
    except CallboardError as error:
        say(code=error.code, text=str(error), node=error.details["node"], id=other.node_id)
    await asyncio.to_thread(cluster.remove_node, other)

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
try:
    for path in sys.argv[1:] or PATHS:
        asyncio.run(refused(cluster, path))
finally:
    cluster.shutdown()
"""


def copy_of(folder: pathlib.Path, change: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """A folder for the path of a node, with a changed copy of Callboard."""
    package = folder / "callboard"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    change(package)
    return folder


def replaced(path: pathlib.Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def another_become(package: pathlib.Path) -> None:
    actor = package / "runtime" / "engines" / "ray" / "host_actor.py"
    replaced(
        actor, "        control_epoch: int,\n        control_address: ", "        control_address: "
    )


def another_version(package: pathlib.Path) -> None:
    replaced(package / "__init__.py", f'"{callboard.__version__}"', '"9.9.9"')


def says_no_release(package: pathlib.Path) -> None:
    actor = package / "runtime" / "engines" / "ray" / "host_actor.py"
    replaced(actor, ", tuple(this_release())", "")


def cannot_be_imported(package: pathlib.Path) -> None:
    (package / "__init__.py").write_text("raise ImportError('half an installation')")


def refusals(tmp_path: pathlib.Path, *changes: Callable[[pathlib.Path], None]) -> list[str]:
    """What a driver hears about one node after the other, each with a changed copy."""
    paths = [str(copy_of(tmp_path / change.__name__, change)) for change in changes]
    driver = Driver(tmp_path, f"PATHS = {paths!r}\n" + NODES)
    heard = [driver.hear() for _ in changes]
    assert driver.end() == 0
    for said in heard:
        assert said["code"] == "cluster", said
        assert said["id"][:8] in said["node"], said
        assert f"on node {said['node']} " in said["text"], said
        assert "Install the same Callboard" in said["text"], said
    return [said["text"] for said in heard]


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.timeout(120)
def test_a_node_with_another_release_is_refused_by_node_and_version(
    tmp_path: pathlib.Path,
) -> None:
    mine = this_release()
    become, version = refusals(tmp_path, another_become, another_version)
    assert f"this system {mine.text}" in become
    assert f"runs Callboard {mine.callboard} (code " in become
    assert "runs Callboard 9.9.9 (code " in version


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.timeout(120)
def test_a_node_that_cannot_say_its_release_is_refused_too(tmp_path: pathlib.Path) -> None:
    silent, broken = refusals(tmp_path, says_no_release, cannot_be_imported)
    assert "runs Callboard of an earlier release" in silent
    assert "runs Callboard none" in broken


def test_the_release_of_this_process() -> None:
    mine = this_release()
    assert mine == Release(*installed())
    assert mine.callboard == callboard.__version__
    assert mine.text.startswith(f"Callboard {mine.callboard} (code {mine.code}), Python 3.")


def test_any_report_is_a_release() -> None:
    assert release_of(list(this_release())) == this_release()
    assert release_of("0.0.9").callboard == "0.0.9"
    for data in (None, (), (1, 2), {"callboard": "1"}, ("a", "b", "c", "d", "e")):
        assert release_of(data) != this_release()


def test_a_copy_with_the_same_text_has_the_same_code_wherever_it_lies(
    tmp_path: pathlib.Path,
) -> None:
    from callboard.runtime.engines.ray.release import _digest

    same = copy_of(tmp_path / "same", lambda _: None)
    other = copy_of(tmp_path / "other", another_become)
    assert _digest(str(same / "callboard")) == this_release().code
    assert _digest(str(other / "callboard")) != this_release().code
