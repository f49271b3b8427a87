"""One owner a folder."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from oddwire.errors import TransportError
from oddwire.node.directory_lock import DirectoryLock


def test_it_holds_the_process_id(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path, "regtest")
    assert (tmp_path / "lightningd-regtest.pid").read_text() == f"{os.getpid()}\n"
    with pytest.raises(TransportError, match=f"is in use by process {os.getpid()}"):
        DirectoryLock(tmp_path, "regtest")
    DirectoryLock(tmp_path, "bitcoin").release()  # another network is another node
    lock.release()
    lock.release()
    DirectoryLock(tmp_path, "regtest").release()


def _hold(path: Path, held: Event, release: Event) -> None:
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)  # as lightningd does
        file.write("4711\n")
        file.flush()
        held.set()
        release.wait()


def test_lightningd_keeps_us_out(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "lightningd-regtest.pid", held, release))
    process.start()
    try:
        assert held.wait(30)
        with pytest.raises(TransportError, match="is in use by process 4711"):
            DirectoryLock(tmp_path, "regtest")
    finally:
        process.kill()
        process.join()
    DirectoryLock(tmp_path, "regtest").release()  # the kernel gave it back
