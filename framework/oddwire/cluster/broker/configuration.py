"""The configuration of the nats-server that `oddwire broker` runs. No I/O."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from oddwire.records import FrozenRecord

__all__ = ["CONFIGURATION_FILE", "MAX_PAYLOAD", "BrokerConfiguration", "Login", "quoted"]

CONFIGURATION_FILE: Final = "nats-server.conf"
"""The name of the file in the data directory; written anew at each start."""
MAX_PAYLOAD: Final = 8 << 20
"""Bytes of the largest message that the broker takes, as configured."""


class Login(FrozenRecord, kw_only=True):
    """What clients have to say: a user and a password, or a token alone."""

    user: str | None = None
    secret: str


class BrokerConfiguration(FrozenRecord, kw_only=True):
    """Where the server listens (port 0 for any), keeps its data, and whom it lets in; without a ``login`` anybody."""

    host: str
    port: int
    data_dir: Path
    login: Login | None = None

    def text(self) -> str:
        """Return the file's text. Raises `ValueError` for text that it cannot hold: control characters."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        folder = quoted(str(self.data_dir))
        lines = [
            "# Written by oddwire broker at each start.",
            f"listen: {quoted(f'{host}:{self.port or -1}')}",
            f"max_payload: {MAX_PAYLOAD}",
            f"ports_file_dir: {folder}",
            "logtime: false",
            "jetstream {",
            f"  store_dir: {folder}",
            "  # An acknowledged message is on disk. The server's default is up to two minutes later.",
            "  sync_interval: always",
            "}",
        ]
        if self.login is not None:
            lines += ["authorization {", *(f"  {line}" for line in _login(self.login)), "}"]
        return "".join(f"{line}\n" for line in lines)


def quoted(text: str) -> str:
    """Return a text as a string of nats-server's configuration. Raises `ValueError` for control characters."""
    if not text.isprintable():
        raise ValueError(f"{text!r} cannot be written into the broker's configuration: it has control characters")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _login(login: Login) -> list[str]:
    if login.user is None:
        return [f"token: {quoted(login.secret)}"]
    return [f"user: {quoted(login.user)}", f"password: {quoted(login.secret)}"]
