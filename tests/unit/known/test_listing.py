"""oddwire.known.listing."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import oddwire.known
from oddwire import Message, schema_of
from oddwire.known import Claim, owners, protocols
from oddwire.known.listing import MODULES, WITHOUT_SCHEMA, claims, modules
from oddwire.proto.type_numbers import BOLT_TYPES, KNOWN
from oddwire.session.constants import SESSION_TYPE

FOLDER = Path(oddwire.known.__file__).parent
PARTS = {"__init__", "listing", "protocol", "reading"}
EACH = [pytest.param(protocol, cls, id=cls.__name__) for protocol in protocols() for cls in protocol.messages]


def test_each_module_is_listed():
    found = {path.relative_to(FOLDER).with_suffix("").parts[0] for path in FOLDER.rglob("*.py")}
    assert found - PARTS == set(MODULES)
    assert [protocol.name for protocol in protocols()] == [protocol.name for protocol in modules().values()]


def test_each_module_is_there_without_an_import_of_it():
    code = "import oddwire; print(oddwire.known.peerswap.PROTOCOL.name, {*oddwire.known.__all__})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("PeerSwap ")
    assert {*MODULES} <= {*oddwire.known.__all__}
    for module in MODULES:
        assert getattr(oddwire.known, module).PROTOCOL is modules()[module]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_was_written_from(module):
    protocol = modules()[module]
    assert protocol.document.startswith("https://")
    assert protocol.version
    assert import_module(f"oddwire.known.{module}").__doc__
    numbers = [schema_of(cls).type_id for cls in protocol.messages]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(("protocol", "cls"), EACH)
def test_a_message_is_documented_and_says_that_its_number_is_assigned(protocol, cls):
    assert issubclass(cls, Message)
    assert schema_of(cls).spec
    assert cls.__doc__


def test_the_tables_that_claims_are_checked_by_have_the_same():
    known = {(type_id, *claim) for type_id, claims in KNOWN.items() for claim in claims}
    written = {protocol.name for protocol in protocols()}
    assert not written & set(WITHOUT_SCHEMA), "what has a module needs no row in WITHOUT_SCHEMA"
    assert {protocol for _, protocol, _ in known} <= written | set(WITHOUT_SCHEMA)
    ours = [claim for type_id in range(65536) for claim in owners(type_id)]
    assert ours == [*claims()]
    ours = [claim for claim in ours if claim.type_id != SESSION_TYPE]
    assert {(claim.type_id, claim.protocol, claim.name) for claim in ours if claim.type_id not in BOLT_TYPES} == {
        row for row in known if row[0] not in BOLT_TYPES
    }
    assert {claim.type_id for claim in ours} == {*KNOWN, *BOLT_TYPES}


def test_who_uses_a_number():
    [claim] = owners(19535)
    assert claim == Claim(
        type_id=19535,
        protocol="commando",
        name="cmd_term",
        encoding="bolt",
        source=claim.source,
        message=import_module("oddwire.known.commando").CmdTerm,
    )
    [claim] = owners(42065)
    assert (claim.protocol, claim.name, claim.encoding, claim.message) == ("PeerSwap Web", "broadcast", "Go gob", None)
    [claim] = owners(SESSION_TYPE)
    assert (claim.protocol, claim.message) == ("oddwire", None)
    assert [(claim.protocol, claim.name) for claim in owners(42069)] == [
        ("PeerSwap", "swap_in_request"),
        ("LightningOS Light", "balanced_open"),
    ]
    assert owners(0x8C01) == ()


def test_no_protocol_is_imported_before_it_is_asked_for():
    code = "import sys, oddwire.known; oddwire.known.owners; print(*sorted(n for n in sys.modules if 'known.' in n))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "oddwire.known.listing oddwire.known.protocol"
