"""Classes of a driver's `__main__`: rebuilt in another process, they are the same contracts.

Ray hands such classes to its workers by value (cloudpickle), which makes the class in two
steps and repeats neither its keywords nor its registration.
"""

import json
import subprocess
import sys
from pathlib import Path

DRIVER = """
import sys, cloudpickle
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry, Request, contract_key

class Place(Contract, version=2):
    line: int

class Findings(Contract, name="driver.findings"):
    places: tuple[Place, ...] = ()

class ReviewFile(Request[Findings], name="driver.review", version=2):
    path: str
    upcasters = {1: lambda fields: {"path": fields["file"]}}

    @property
    def suffix(self):
        return self.path.rpartition(".")[2]

registry = ContractRegistry()
messages = [ReviewFile(path="a.py"), Findings(places=(Place(line=3),))]
bodies = []
for message in messages:
    if sys.argv[2] == "used":
        registry.learn(type(message))
    body, buffers = Codec(registry).encode(message)
    bodies.append(body)
keys = [] if sys.argv[2] == "fresh" else [tuple(contract_key(c)) for c in (ReviewFile, Findings)]
with open(sys.argv[1], "wb") as file:
    cloudpickle.dump(((ReviewFile, Findings, Place), bodies, keys), file)
"""

WORKER = """
import json, sys, cloudpickle
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import ContractRegistry, contract_key, reply_type

with open(sys.argv[1], "rb") as file:
    classes, bodies, keys = cloudpickle.load(file)
review, findings, place = classes
registry = ContractRegistry()
codec = Codec(registry)
mine = [tuple(contract_key(cls)) for cls in (review, findings)]
back = [codec.decode(body, registry.resolve(*key)) for body, key in zip(bodies, mine)]
old = registry.resolve("driver.review", 1, 5)({"file": "old.py"})
print(json.dumps({
    "names": [[cls.contract_name, cls.contract_version] for cls in classes],
    "same_keys": not keys or keys == mine,
    "reply": reply_type(review) is findings,
    "types": [type(back[0]) is review, type(back[1]) is findings, type(old) is review],
    "values": [back[0].path, back[0].suffix, back[1].places[0].line, old.path],
    "encodes": codec.encode(back[0])[0] == bodies[0],
}))
"""


def rebuilt(tmp_path: Path, mode: str) -> object:
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "worker.py").write_text(WORKER)
    pickled = str(tmp_path / "classes.bin")

    def output_of(*command: str) -> str:
        ran = subprocess.run(
            [sys.executable, *command], check=False, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    output_of(str(tmp_path / "driver.py"), pickled, mode)
    return json.loads(output_of(str(tmp_path / "worker.py"), pickled))


EXPECTED = {
    "names": [["driver.review", 2], ["driver.findings", 1], ["driver.Place", 2]],
    "same_keys": True,
    "reply": True,
    "types": [True, True, True],
    "values": ["a.py", "py", 3, "old.py"],
    "encodes": True,
}


def test_classes_of_main_keep_everything_in_another_process(tmp_path: Path) -> None:
    assert rebuilt(tmp_path, "fresh") == EXPECTED


def test_classes_of_main_that_were_used_before_keep_everything_too(tmp_path: Path) -> None:
    """A used class carries its cached validator; it must not get in the way of pickling."""
    assert rebuilt(tmp_path, "used") == EXPECTED
