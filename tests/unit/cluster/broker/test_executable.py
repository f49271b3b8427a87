"""Which nats-server is run, and what is said where there is none that will do."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

from oddwire.cluster.broker.executable import as_version, find_executable, is_too_old, too_old
from oddwire.errors import DefinitionError


def script(folder: Path, text: str) -> Path:
    file = folder / "nats-server"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_that_of_the_path_is_taken_first(tmp_path: Path) -> None:
    mine = script(tmp_path, "echo nats-server: v2.99.0")
    assert find_executable(str(tmp_path)) == mine


def test_else_the_one_beside_this_python(tmp_path: Path) -> None:
    assert find_executable(str(tmp_path)).parent == Path(sysconfig.get_path("scripts"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "echo nats-server: v2.10.29",
            "is nats-server 2.10.29, which is too old: a cluster needs 2.11.0 or newer; inst",
        ),
        ("echo hello", "says no version: hello; install it from https://nats.io/download and have it on the PATH"),
        ("exit 3", "says no version: exit code 3; .*, or pip install 'oddwire\\[cluster\\]'"),
        ("echo v2.11.0; exit 1", "says no version: v2.11.0"),
    ],
)
def test_one_that_will_not_do(tmp_path: Path, text: str, said: str) -> None:
    script(tmp_path, text)
    with pytest.raises(DefinitionError, match=said):
        find_executable(str(tmp_path))


def test_one_that_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "nats-server").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "nats-server").chmod(0o755)
    with pytest.raises(DefinitionError, match="nats-server --version: "):
        find_executable(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("nats-server: v2.15.1", (2, 15, 1)),
        ("2.11.0-RC.2", (2, 11, 0)),
        ("v2", None),
        ("", None),
        ("1.2.3.4", (1, 2, 3)),
    ],
)
def test_versions(text: str, numbers: tuple[int, int, int] | None) -> None:
    assert as_version(text) == numbers
    assert is_too_old(text) == (numbers == (1, 2, 3))


def test_there_is_always_a_path() -> None:
    assert find_executable().name == "nats-server"
    assert os.access(find_executable(), os.X_OK)


def test_a_version_as_a_client_spells_it_is_told_by_its_numbers() -> None:
    assert too_old("<nats server v2.10.27>").startswith("nats-server 2.10.27, which is too old: a cluster needs 2.11.0")
