"""A program that is run and the same program imported speak the same contracts."""

import subprocess
import sys
from pathlib import Path

import pytest

from callboard.messages.core.contract import Contract, ContractRegistry, contract_key
from callboard.messages.core.errors import UnknownContract
from callboard.messages.core.module_names import near_match

SERVICE = """
from callboard import Contract
from callboard.messages.core.contract import contract_key

class Outer:
    class Add(Contract):
        amount: int

class Named(Contract, name="bank.named"):
    pass

if __name__ in {"__main__", "__mp_main__"}:
    print(contract_key(Outer.Add).name, contract_key(Named).name)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "bank"
    package.mkdir()
    for path in (tmp_path / "service.py", tmp_path / "my-service.py", package / "teller.py"):
        path.write_text(SERVICE)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(SERVICE)
    return tmp_path


def names_of(folder: Path, *command: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, *command], check=False, capture_output=True, text=True, cwd=folder
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("command", "module"),
    [
        (("service.py",), "service"),
        (("./service.py",), "service"),
        (("-m", "service"), "service"),
        (("-m", "bank.teller"), "bank.teller"),
        (("-m", "bank"), "bank.__main__"),
        (("bank/teller.py",), "teller"),
        (("-m", "cProfile", "-o", "/dev/null", "service.py"), "service"),
        (("-c", "import runpy; runpy.run_path('service.py', run_name='__main__')"), "service"),
        (("my-service.py",), "__main__"),
        (("-P", "service.py"), "__main__"),
        (("-c", SERVICE), "__main__"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and len(value) < 3 else "",
)
def test_contract_of_a_program_has_its_importable_name(
    folder: Path, command: tuple[str, ...], module: str
) -> None:
    assert names_of(folder, *command) == [f"{module}.Outer.Add", "bank.named"]


def test_contract_of_a_program_and_of_its_import_are_the_same(folder: Path) -> None:
    both = (
        "import runpy, service\n"
        "run = runpy.run_path('service.py', run_name='__main__')\n"
        "from callboard.messages.core.contract import is_same_contract\n"
        "print(is_same_contract(run['Outer'].Add, service.Outer.Add))\n"
    )
    assert names_of(folder, "-c", both)[-1] == "True"


STORED = """
from callboard import Contract
from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import ContractRegistry, contract_key
from callboard.events import EventCodec

class Added(Contract):
    amount: int

_, version, fingerprint = contract_key(Added)
registry = ContractRegistry()
codec = Codec(registry)
body, _ = codec.encode(Added(amount=3))
print(codec.decode(body, registry.resolve("__main__.Added", version, fingerprint)).amount)
print(*EventCodec([Added]).kinds)
"""


def test_what_earlier_releases_stored_of_a_program_is_read(folder: Path) -> None:
    """They named its contracts after `__main__`."""
    (folder / "stores.py").write_text(STORED)
    assert names_of(folder, "stores.py") == ["3", "__main__.Added", "stores.Added"]


# --- near matches ----------------------------------------------------------------------------


def test_the_same_class_of_a_program_is_a_near_match() -> None:
    said = near_match("service.Add", ["bank.Sub", "__main__.Add"], "offered")
    assert said.startswith("; __main__.Add is offered: the same class of a program that was run")
    assert "name=" in said
    assert near_match("__main__.Add", ["service.Add"], "known") == said.replace(
        "__main__.Add is offered", "service.Add is known"
    )


def test_the_same_class_of_another_module_is_a_near_match() -> None:
    said = near_match("shop.service.Add", ["service.Add"], "offered")
    assert "service.Add is offered: the same class under another module name" in said


def test_a_name_with_a_slip_is_a_near_match() -> None:
    assert "review.file is known" in near_match("review.fle", ["review.file"], "known")


def test_other_names_are_no_near_match() -> None:
    assert near_match("service.Add", ["service.Add", "bank.Withdrawn"], "offered") == ""


def test_unknown_contract_names_the_near_match() -> None:
    class Local(Contract):
        pass

    registry = ContractRegistry()
    name = contract_key(Local).name
    with pytest.raises(UnknownContract, match=r"no contract '__main__\.Local' is known.*Local is"):
        registry.resolve("__main__.Local", 1, 1)
    assert name.endswith("Local")
