"""The contracts of the extensions that come with oddwire: who changes what they speak sees here whom that breaks.

A change that breaks nobody is taken into the contract by ``oddwire lock NAME -o FILE``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import oddwire_extensions
from oddwire.cli.events import Printer
from oddwire.cli.interfaces import load_interfaces
from oddwire.contracts import compare, contract_of, read_contract, write_contract

FOLDER = Path(oddwire_extensions.__file__).parent
FILES = sorted(FOLDER.glob("*/*.contract.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.partition(".")[0])
def test_an_extension_speaks_what_its_contract_says(file: Path) -> None:
    name = file.name.partition(".")[0]
    old = read_contract(file.read_text(), extension=name)
    (interface,) = load_interfaces(Printer(), [name])
    new = contract_of(interface, oddwire=old["oddwire"])
    found = compare(old, new)
    breaks = [one.to_plain() for one in found if one.breaks]
    assert breaks == [], f"{name}: old peers break"
    assert write_contract(new) == file.read_text(), f"{name} has changed: oddwire lock {name} -o {file}"


def test_each_has_one() -> None:
    packages = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    assert {file.parent.name for file in FILES} == packages
