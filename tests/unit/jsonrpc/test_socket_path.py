"""Unix sockets with long paths."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from oddwire.jsonrpc.socket_path import socket_address


@pytest.mark.parametrize("length", [1, 200])
def test_a_socket_is_bound_and_found(tmp_path: Path, length: int) -> None:
    folder = tmp_path / ("x" * length)
    folder.mkdir()
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with socket_address(path) as address:
            server.bind(address)
        server.listen()
        assert path.is_socket()
        with socket_address(str(path)) as address:
            client.connect(address)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), socket_address(tmp_path / ("x" * 200) / "socket"):
        pytest.fail("no address to give")
