"""A package that we did not write plugs in by its entry points: pip installs it, a fresh interpreter uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "thirdparty_package"

USES_ALL_THREE = """
import asyncio
from oddwire.app import Application

async def main():
    async with (
        Application("coo", transport="pigeon", transport_options={"name": "dovecote"}) as left,
        Application("coo", transport="pigeon", transport_options={"name": "loft"}) as right,
    ):
        from oddwire_pigeon.coo import Coo, CooBack
        peer = await right.connect("dovecote")
        print(await peer.request(Coo(text="hello"), CooBack))
        print(right.registry.encode(Coo(text="hello")))

asyncio.run(main())
"""

UNKNOWN_NAMES = """
from oddwire.app import Application, PluginManager
from oddwire.errors import ExtensionError
for ask in (lambda: PluginManager().load("cool"), lambda: Application(transport="pigeons")):
    try:
        ask()
    except ExtensionError as error:
        print(error)
"""

KIT = """
from hypothesis import strategies as st
from oddwire.schema import schema_of
from oddwire.testing import CodecConformance, TransportConformance, messages
from oddwire_pigeon.codec import Rot13Codec
from oddwire_pigeon.coo import Coo, CooBack
from oddwire_pigeon.transport import PigeonTransport

class TestRot13(CodecConformance):
    codec = Rot13Codec()
    messages = (Coo, CooBack)
    examples = 5

    def values(self, message):
        line = st.text(st.characters(codec="utf-8", exclude_characters="\\n"))
        return messages(message, **{field.name: line for field in schema_of(message).fields})

class TestPigeon(TransportConformance):
    shows_features = False

    async def make(self):
        return PigeonTransport(name="left"), PigeonTransport(name="right")

    async def connect(self, left, right):
        await left.connect("right")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    for path in PACKAGE.rglob("*"):
        if path.suffix in (".py", ".toml"):
            copy = source / path.relative_to(PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


def run(installed: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # In debug mode asyncio tells on stderr what took its time: importing does, on a busy machine
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONASYNCIODEBUG": ""}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=cwd, timeout=120)


def test_an_application_uses_its_transport_its_codec_and_its_extension(installed: Path) -> None:
    result = run(installed, "-c", USES_ALL_THREE)
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "CooBack 0xc003 text='HELLO' by='coo'",
        repr(b"\xc0\x01uryyb"),
    ]


def test_a_wrong_name_is_told_what_there_is(installed: Path) -> None:
    assert run(installed, "-c", UNKNOWN_NAMES).stdout.splitlines() == [
        "no extension is called 'cool'; did you mean 'coo'?",
        "no transport is called 'pigeons'; did you mean 'pigeon'?",
    ]


def test_without_the_package_there_are_none_of_its_names(tmp_path: Path) -> None:
    result = run(tmp_path, "-c", UNKNOWN_NAMES)
    assert "coo'" not in result.stdout
    assert "'pigeon'" not in result.stdout
    assert "memory" in result.stdout


def test_the_kits_say_what_is_missing(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_kit.py").write_text(KIT)
    result = run(installed, "-m", "pytest", "-q", "-p", "no:asyncio", "test_kit.py", cwd=tmp_path)
    failed = {line.split("::")[-1].split(" ")[0] for line in result.stdout.splitlines() if line.startswith("FAILED")}
    # The pigeons know no back-pressure, and the kit says so; all else is right.
    assert failed == {
        "test_a_send_waits_for_a_peer_that_does_not_read_and_cancelled_is_not_sent",
        "test_a_waiting_send_goes_on_when_the_peer_reads_again",
        "test_a_waiting_send_ends_with_the_connection",
    }, result.stdout + result.stderr
