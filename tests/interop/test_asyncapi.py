"""The documents of `oddwire describe --format asyncapi`, by AsyncAPI's own JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from oddwire.cli.events import Printer
from oddwire.cli.interfaces import load_interfaces
from oddwire.contracts.asyncapi import VERSION, asyncapi

pytestmark = pytest.mark.interop

SCHEMAS = Path(__file__).parent / "node" / "node_modules" / "@asyncapi" / "specs" / "schemas"
KNOWN = ("dlc", "hosted_channels", "lsps1", "lsps2", "peerswap", "taproot_assets")


@pytest.fixture(scope="module")
def validator(node: list[str]) -> Any:
    schema = json.loads((SCHEMAS / f"{VERSION}.json").read_text())
    return jsonschema.validators.validator_for(schema)(schema)


@pytest.mark.parametrize("spec", ["chat", "courier", "echo", "lsps", "rates", *(f"known:{name}" for name in KNOWN)])
def test_it_is_asyncapi(validator: Any, spec: str) -> None:
    (interface,) = load_interfaces(Printer(), [spec])
    document = asyncapi(interface)
    validator.validate(document)
    for message in document["components"]["messages"].values():
        assert message["contentType"].startswith("application/")
