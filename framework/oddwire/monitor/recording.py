"""Recordings: files of the events of a program, a JSON object a line, as ``oddwire run --json`` prints them."""

from __future__ import annotations

import json
import os
import time
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from oddwire.files import open_to_read
from oddwire.monitor.snapshot import PeerLine, Program
from oddwire.monitor.watched import Watched
from oddwire.printable import printable
from oddwire.records import FrozenRecord
from oddwire.version import __version__

__all__ = ["FORMAT", "MAX_BYTES", "Recorder", "Recording", "header", "line_of", "present", "read_recording"]

FORMAT: Final = 1
"""The version of the form of recordings."""
MAX_BYTES: Final = 256 * 1024 * 1024
"""How large a recording grows by default."""
_LAST: Final = 200  # bytes that are kept free for the last line


class Recording(FrozenRecord, kw_only=True):
    """A recording that was read. ``program`` and ``node_id`` are empty in the output of ``run --json``.

    ``events`` have all lines but the first, each with the number of its line.
    """

    path: str
    program: str = ""
    node_id: str = ""
    events: Sequence[Watched] = ()

    @property
    def missed(self) -> int:
        """How many times events are missing, as its lines say."""
        return sum(event.event in ("missed", "full") for event in self.events)


def header(program: Program, *, now: float) -> dict[str, Any]:
    """Return the first line of a recording, as an object. ``now`` is seconds since 1970."""
    values = {
        "event": "recording",
        "time": round(now, 6),
        "format": FORMAT,
        "oddwire": __version__,
        "program": program.name,
        "kind": program.kind,
        "node_id": program.node_id,
        "extensions": [*program.extensions],
    }
    return {key: value for key, value in values.items() if value not in ("", [])}


def present(peers: Iterable[PeerLine], *, now: float) -> list[dict[str, Any]]:
    """Return a line for each peer that was connected when a recording began, as objects: ``"present": true``."""
    return [
        {
            "event": "connected",
            "time": round(now, 6),
            "peer": peer.id,
            "present": True,
            **({"address": peer.address} if peer.address else {}),
            **({"direction": peer.direction} if peer.direction else {}),
        }
        for peer in peers
    ]


def line_of(data: Mapping[str, Any]) -> bytes:
    """Return an event as a line: ASCII, without control characters."""
    return json.dumps(data, allow_nan=False).replace("\x7f", "\\u007f").encode() + b"\n"


class Recorder:
    """Writes a recording to a new file, of at most ``max_bytes``, each event at once. A context manager.

    Raises `FileExistsError` for a file that is there, unless ``replace``; and `OSError`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        program: Program,
        peers: Iterable[PeerLine] = (),
        *,
        max_bytes: int = MAX_BYTES,
        replace: bool = False,
        now: float | None = None,
    ) -> None:
        self.path = Path(path)
        self.events = 0
        """How many events were written."""
        self.bytes = 0
        self.full = False
        """Whether ``max_bytes`` are reached: nothing more is written."""
        self._max_bytes = max_bytes
        moment = time.time() if now is None else now
        # Of its owner alone: it has what peers say in confidence
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if replace else os.O_EXCL)
        self._file = open(os.open(self.path, flags, 0o600), "wb", buffering=0)  # noqa: SIM115, PTH123 - closed by close
        try:
            for data in (header(program, now=moment), *present(peers, now=moment)):
                self._write(data)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, events: Sequence[Watched]) -> None:
        """Write events, unless it is full. Raises `OSError`."""
        for event in events:
            if self.full:
                return
            if self._write(event.data):
                self.events += 1

    def note(self, kind: str, reason: str) -> None:
        """Write a remark as an event: ``missed``, say. Raises `OSError`."""
        if not self.full:
            self._write({"event": kind, "time": round(time.time(), 6), "reason": reason})

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def _write(self, data: Mapping[str, Any]) -> bool:
        line = line_of(data)
        if self.bytes + len(line) > self._max_bytes - _LAST:
            self.full = True
            reason = f"the recording has {self._max_bytes} bytes, as many as it may"
            line = line_of({"event": "full", "time": round(time.time(), 6), "reason": reason})
        self._file.write(line)
        self.bytes += len(line)
        return not self.full


def read_recording(path: str | os.PathLike[str]) -> Recording:
    """Read a recording, or what ``oddwire run --json`` printed. Raises `OSError`, and `ValueError` naming the line."""
    name = printable(os.fspath(path))
    events: list[Watched] = []
    first: Mapping[str, Any] = {}
    with open_to_read(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(BOM_UTF8)
            if not line.strip():
                continue
            data = _object(line, f"{name}, line {number}")
            if data.get("event") == "recording":
                if data.get("format") != FORMAT:
                    raise ValueError(
                        f"{name} is a recording of format {data.get('format')!r:.20}, not {FORMAT}: "
                        f"a later oddwire than {__version__} reads it"
                    )
                first = first or data
                continue
            try:
                events.append(Watched.of({**data, "n": number}))
            except ValueError as error:
                raise ValueError(f"{name}, line {number}: {error}") from None
    if not first and not events:
        raise ValueError(f"{name} has no events: 'oddwire monitor --record FILE' or 'oddwire run --json' write them")
    return Recording(
        path=name, program=str(first.get("program", "")), node_id=str(first.get("node_id", "")), events=events
    )


def _object(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"{where}: no JSON: {printable(line[:60].decode(errors='replace').rstrip())}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{where}: should be an object with 'event' and 'time', not {printable(repr(data)[:60])}")
    return data
