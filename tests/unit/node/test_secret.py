"""``hsm_secret``: the node ids and secrets that lightningd derives, and files that are refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from oddwire.errors import DefinitionError
from oddwire.node.secret import NodeSecret, load_secret, make_once

# lightningd's own tests start nodes with these seeds; everybody who has run them knows the ids
KNOWN = {
    b"lightning-1": "0266e4598d1d3c415f572a8488830b60f7e744ed9235eb0b1ba93283b315c03518",
    b"lightning-2": "022d223620a359a47ff7f7ac447c85c46c923da53389221a0054c11c1e3ca31d59",
    b"lightning-3": "035d2b1192dfba134e10e540875d366ebc8bc353d5aa766b80c090b39c3a5d885d",
}


@pytest.mark.parametrize("seed", KNOWN)
def test_node_ids_are_lightningds(seed: bytes) -> None:
    assert NodeSecret(seed.ljust(32, b"\0")).node_key.public_key().hex() == KNOWN[seed]


def test_a_derived_secret_is_lightningds() -> None:
    secret = NodeSecret(b"lightning-1".ljust(32, b"\0"))
    expected = "a9a2e742405c28f059349132923a99337ae7f71168b7485496e3365f5bc664ed"
    assert secret.derive(b"scb secret").to_bytes().hex() == expected
    assert secret.derive(b"scb secreu") != secret.derive(b"scb secret")


def test_it_is_made_once(tmp_path: Path) -> None:
    first = load_secret(tmp_path)
    path = tmp_path / "hsm_secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 32
    assert load_secret(tmp_path).node_key == first.node_key
    make_once(path, bytes(32))
    assert load_secret(tmp_path).node_key == first.node_key
    assert [entry.name for entry in tmp_path.iterdir()] == ["hsm_secret"]


def test_a_seed_of_another_length() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        NodeSecret(bytes(31))


@pytest.mark.parametrize("size", [0, 31, 33, 73])
def test_a_file_of_another_length(tmp_path: Path, size: int) -> None:
    path = tmp_path / "hsm_secret"
    path.touch(0o600)
    path.write_bytes(bytes(size))
    with pytest.raises(DefinitionError, match=f"should be 32 bytes, lightningd's plain form, not {size}"):
        load_secret(tmp_path)
    assert path.stat().st_size == size


def test_a_file_that_others_can_read(tmp_path: Path) -> None:
    load_secret(tmp_path)
    (tmp_path / "hsm_secret").chmod(0o640)
    with pytest.raises(DefinitionError, match=r"mode 0640.*chmod 600"):
        load_secret(tmp_path)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "hsm_secret").mkdir(0o700)
    with pytest.raises((DefinitionError, OSError)):
        load_secret(tmp_path)
