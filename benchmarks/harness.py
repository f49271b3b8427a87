"""What every benchmark stands on: rows, processes that measure at the same time, and the bound.

A machine's speed drifts from one minute to the next, more than most differences worth knowing. So each row is a ratio
of two measurements of one round, the rounds are interleaved, and the row's value is the median of its rounds' ratios.
Where two processes work at the same time, what they are held against is measured in two processes working at the same
time: cores that share caches and clocks are slower together than alone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from oddwire.app import relax_collector

__all__ = ["Channel", "Row", "bound", "median_ratio", "pair", "run_async"]

ROUNDS = 5
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Row:
    """One line of the table. ``goal`` is ``>= x`` or ``<= x``; ``note`` says what was measured, in absolute figures."""

    row: str
    value: float
    unit: str
    goal: str
    note: str = ""

    @property
    def met(self) -> bool:
        sign, number = self.goal.split()
        return self.value >= float(number) if sign == ">=" else self.value <= float(number)

    def as_dict(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "value": round(self.value, 4),
            "unit": self.unit,
            "goal": self.goal,
            "met": self.met,
            "note": self.note,
        }


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """The median over the rounds of ours / theirs."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


class Channel:
    """The way between the two processes of a pair: Python values, blocking or awaited."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, value: object) -> None:
        self._connection.send(value)

    def get(self) -> Any:
        if not self._connection.poll(120):
            raise TimeoutError("the other process of this benchmark has said nothing for two minutes")
        return self._connection.recv()

    async def aget(self) -> Any:
        return await asyncio.to_thread(self.get)


def _enter(
    function: Callable[..., Any], connection: Connection, results: Connection, arguments: tuple[Any, ...]
) -> None:
    try:
        results.send((True, function(Channel(connection), *arguments)))
    except BaseException as error:
        results.send((False, f"{type(error).__name__}: {error}"))
        raise


def pair(first: Callable[..., Any], second: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """Run two functions in two new processes at the same time; give what each returned.

    Each gets a `Channel` to the other, then ``arguments``.
    """
    ends = _spawn.Pipe()
    running = []
    for function, end in zip((first, second), ends, strict=True):
        ours, theirs = _spawn.Pipe(duplex=False)
        process = _spawn.Process(target=_enter, args=(function, end, theirs, arguments))
        process.start()
        theirs.close()
        running.append((process, ours, function))
    for end in ends:
        end.close()
    values = []
    for _, results, function in running:
        try:
            good, value = results.recv() if results.poll(180) else (False, "no result in three minutes")
        except EOFError:
            good, value = False, "ended without a result"
        if not good:
            for other, _, _ in running:
                other.kill()
            raise RuntimeError(f"{function.__module__}.{function.__name__}: {value}")
        values.append(value)
    for process, _, _ in running:
        process.join()
    return values[0], values[1]


def run_async(main: Coroutine[Any, Any, Any], loop: str = "asyncio") -> Any:
    """Run as ``oddwire run`` does, in a process whose collector is relaxed, or as ``oddwire run --uvloop``."""
    relax_collector()
    if loop == "uvloop":
        import uvloop

        return uvloop.run(main)
    return asyncio.run(main)


# The bound ------------------------------------------------------------------------------------------

_SECONDS = 0.6


def _cipher_work(channel: Channel, size: int, opening: bool) -> float:
    cipher = ChaCha20Poly1305(os.urandom(32))
    nonce = bytes(12)
    header, body = os.urandom(2), os.urandom(size)
    work: Callable[..., bytes] = cipher.encrypt
    if opening:
        header, body = cipher.encrypt(nonce, header, None), cipher.encrypt(nonce, body, None)
        work = cipher.decrypt
    channel.put("ready")
    channel.get()
    rounds = max(1, 200_000 // (size + 500))
    done = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < _SECONDS:
        for _ in range(rounds):
            work(nonce, header, None)
            work(nonce, body, None)
        done += rounds
    return done / elapsed


def _seal(channel: Channel, size: int) -> float:
    return _cipher_work(channel, size, opening=False)


def _open(channel: Channel, size: int) -> float:
    return _cipher_work(channel, size, opening=True)


def bound(size: int) -> float:
    """Messages of ``size`` bytes a second that one process can open, doing nothing else, while another seals.

    One message is an 18-byte and a size + 16-byte packet, and the library is the one oddwire uses.
    """
    _, opened = pair(_seal, _open, size)
    return float(opened)
