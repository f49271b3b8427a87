"""Programs of one node that find each other in its folder."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire.app.programs import registry as module
from oddwire.app.programs.claims import Claim, program_number
from oddwire.app.programs.registry import FOLDER, Programs, owner_of_store
from oddwire.errors import ExtensionError, StoreError
from oddwire.files import FileLock

PATIENCE = 30.0
POLL = 0.02
NEW_NUMBERS = itertools.count(0x1000)  # no two stores get the same, as they are random in fact
OTHERS = Claim(file="/b/shop", process=1, program=0xB)


class Store:
    """A store's numbers, as they are."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.renewed = 0
        self.trouble: Exception | None = None

    async def renew(self) -> None:
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        self.renewed += 1
        self.numbers = (next(NEW_NUMBERS), *self.numbers[1:])


Join = Callable[..., Coroutine[Any, Any, Programs]]


@pytest.fixture
async def join(tmp_path: Path) -> AsyncIterator[Join]:
    """Have a program join: ``await join("/a/market", extensions=("market",))``."""
    joined: list[Programs] = []

    async def begin(file: str, store: Store | None = None, patience: float = PATIENCE, **fields: Any) -> Programs:
        kept = store or Store()
        path = fields.pop("path", str(tmp_path / f"oddwire-{Path(file).name}.sqlite3"))
        claim = Claim(file=file, process=os.getpid(), program=program_number("", file), store=path, **fields)
        numbers = lambda: kept.numbers  # noqa: E731
        one = Programs(tmp_path, claim, stores=numbers, renew=kept.renew, patience=patience, poll=POLL)
        joined.append(one)
        await one.join()
        return one

    yield begin
    for one in joined:
        await one.leave()


def warnings(caplog: pytest.LogCaptureFixture, *words: str) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [text for text in found if all(word in text for word in words)]


async def some_looks() -> None:
    """Wait until all programs have looked around, several times over."""
    await asyncio.sleep(POLL * 10)


def claims(tmp_path: Path) -> dict[str, Claim]:
    files = [path for path in (tmp_path / FOLDER).iterdir() if path.name != "lock"]
    read = [Claim.decode(path.read_bytes()) for path in files]
    assert len({claim.file for claim in read}) == len(read)
    return {claim.file: claim for claim in read}


async def test_a_program_says_what_it_is_for_as_long_as_it_lives(join: Join, tmp_path: Path) -> None:
    one = await join("/a/market", Store(1, 2), extensions=("market",), types=(0x8C01,))
    claim = claims(tmp_path)["/a/market"]
    assert (claim.extensions, claim.types, claim.stores, claim.process) == (("market",), (0x8C01,), (1, 2), os.getpid())
    assert stat.S_IMODE((tmp_path / FOLDER).stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (tmp_path / FOLDER).iterdir())
    await one.leave()
    await one.leave()
    assert claims(tmp_path) == {}


async def test_both_warn_of_what_two_have_in_common_once(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    """The later one at its start, the earlier one soon after."""
    await join("/a/market", extensions=("market", "chat"), types=(0x8C01,))
    await join("/c/other", extensions=("other",), types=(0x8D01,))
    assert not warnings(caplog)
    await join("/b/shop", extensions=("shop", "market"), types=(0x8C01, 0x8C03))
    assert len(warnings(caplog, "/a/market and /b/shop", "'market'")) == 1
    await until(lambda: len(warnings(caplog)) == 4)
    await some_looks()
    assert len(warnings(caplog, "/a/market and /b/shop", "'market'")) == 2
    assert len(warnings(caplog, "/a/market and /b/shop", "0x8c01")) == 2
    assert len(warnings(caplog)) == 4


async def test_three_with_one_extension_are_three_pairs(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("/a/market", "/b/market", "/c/market"):
        await join(name, path=f"{name}.sqlite3", extensions=("market",))
    await until(lambda: len(warnings(caplog)) == 6)
    await some_looks()
    for pair in ("/a/market and /b/market", "/a/market and /c/market", "/b/market and /c/market"):
        assert len(warnings(caplog, pair)) == 2


async def test_another_thing_of_the_same_pair_is_warned_of_when_it_comes(
    join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    await join("/a/market", extensions=("market", "chat"))
    second = await join("/b/shop", extensions=("market",))
    await until(lambda: len(warnings(caplog)) == 2)
    await second.leave()
    second = await join("/b/shop", extensions=("market",))  # its own log has it again, the first one's has not
    await some_looks()
    assert len(warnings(caplog)) == 3
    await second.leave()
    await join("/b/shop", extensions=("chat", "market"))
    await until(lambda: len(warnings(caplog)) == 5)
    assert len(warnings(caplog, "'chat', 'market'")) == 2


async def test_names_that_steer_a_terminal_are_shown_escaped(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    await join("/a/\x1b[2J", extensions=("market",))
    await join("/b/\nforged", extensions=("market",))
    assert warnings(caplog, r"/a/\x1b[2J and /b/\nforged")


# Programs that end ------------------------------------------------------------------------------------


async def test_one_that_ends_is_none_any_more(join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = await join("/a/market", extensions=("market",))
    first.end()  # its handlers have two seconds from then on
    await join("/b/shop", extensions=("market",))
    await some_looks()
    assert not warnings(caplog)
    await first.leave()
    assert claims(tmp_path).keys() == {"/b/shop"}


async def test_one_that_is_told_to_end_before_it_has_begun_is_none(
    join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    await join("/a/market", extensions=("market",))
    other = Programs("/nowhere", OTHERS, patience=0.0)
    other.end()
    await other.leave()
    assert not warnings(caplog)


async def test_the_same_file_again_is_no_other_program(
    join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that was killed and started again: the old process has some seconds to notice, and no store any more."""
    store = Store(7)
    old = await join("/a/market", store, extensions=("market",), types=(0x8C01,))
    await join("/a/market", store, extensions=("market",), types=(0x8C01,))
    await some_looks()
    await old.leave()
    await some_looks()
    assert not warnings(caplog)
    assert store.renewed == 0


async def test_the_same_file_twice_for_good(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    await join("/a/market", patience=POLL)
    await join("/a/market", patience=POLL)
    await until(lambda: len(warnings(caplog)) == 2)
    await some_looks()
    assert len(warnings(caplog, "/a/market is run by two processes")) == 2


async def test_the_same_file_that_is_still_about_to_end(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    (await join("/a/market", patience=POLL)).end()
    await join("/a/market", patience=POLL)
    await some_looks()
    assert not warnings(caplog)


CHILD = """
import asyncio, os, sys
sys.path[:0] = {path!r}
from oddwire.app.programs.claims import Claim, program_number
from oddwire.app.programs.registry import Programs

async def main():
    claim = Claim(file="/b/shop", process=os.getpid(), program=2, store="shop", extensions=("market",))
    programs = Programs({folder!r}, claim, stores=lambda: (7,), patience=5.0)
    await programs.join()
    if "fork" in sys.argv:
        ready, told = os.pipe()
        if os.fork() == 0:
            import time
            print(os.getpid(), flush=True)
            os.write(told, b"x")
            time.sleep(3600)
        os.read(ready, 1)
    print("joined", flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@contextlib.contextmanager
def child(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run another program; it is killed at the end."""
    program = CHILD.format(path=sys.path, folder=str(folder))
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_one_that_is_killed_leaves_nothing_that_counts(
    join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with child(tmp_path) as process:
        assert await asyncio.to_thread(process.stdout.readline) == "joined\n"
    assert claims(tmp_path).keys() == {"/b/shop"}
    store = Store(7)
    await join("/a/market", store, extensions=("market",))
    await some_looks()
    assert not warnings(caplog)
    assert store.renewed == 0
    assert claims(tmp_path).keys() == {"/a/market"}


async def test_a_child_that_it_has_forked_is_not_the_program(
    join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.ExitStack() as stack:
        with child(tmp_path, "fork") as process:
            forked = int(await asyncio.to_thread(process.stdout.readline))
            stack.callback(os.kill, forked, signal.SIGKILL)
            assert await asyncio.to_thread(process.stdout.readline) == "joined\n"
        os.kill(forked, 0)
        await join("/a/market", Store(7), extensions=("market",))
        assert not warnings(caplog)
        assert claims(tmp_path).keys() == {"/a/market"}


async def test_two_processes_find_each_other(join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await join("/a/market", extensions=("market",))
    with child(tmp_path):
        await until(lambda: warnings(caplog, "/a/market and /b/shop", "'market'"))


# Stores -----------------------------------------------------------------------------------------------


async def test_the_later_of_two_with_one_store_gets_new_numbers(
    join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    original, copy = Store(7, 8), Store(7, 8)
    await join("/a/market", original)
    await join("/b/shop", copy)
    assert (original.renewed, copy.renewed) == (0, 1)
    assert claims(tmp_path)["/b/shop"].stores == copy.numbers != (7, 8)
    await until(lambda: len(warnings(caplog)) == 2)
    await some_looks()
    assert len(warnings(caplog, "plugin file /b/shop has a store", "copied from that of /a/market")) == 2
    third = Store(7, 8)
    await join("/c/third", third)
    await until(lambda: len(warnings(caplog)) == 4)  # it shares nothing with the other copy
    await some_looks()
    assert len(warnings(caplog)) == 4
    assert third.renewed == 1


async def test_of_many_that_start_at_once_one_keeps_its_numbers(join: Join) -> None:
    stores = [Store(7) for _ in range(5)]
    await asyncio.gather(*(join(f"/{n}/market", store, path=f"/{n}") for n, store in enumerate(stores)))
    assert sorted(store.renewed for store in stores) == [0, 1, 1, 1, 1]


async def test_a_part_of_a_store_that_was_moved_is_no_copy(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    source, destination = Store(7), Store(9, 7)
    await join("/a/market", source)
    await join("/b/shop", destination)
    await some_looks()
    assert (source.renewed, destination.renewed) == (0, 0)
    assert not warnings(caplog)


async def test_a_store_that_another_file_has_taken_over(join: Join, tmp_path: Path) -> None:
    """A plugin file that was moved: who opened the store has its lock, so the former one has let go of it."""
    store, path = Store(7), str(tmp_path / "store")
    former = await join("/a/market", store, path=path)
    former.end()
    await join("/b/market", store, path=path)
    assert store.renewed == 0


async def test_a_copy_of_one_that_is_about_to_end_gets_new_numbers_too(join: Join) -> None:
    original, copy = Store(7), Store(7)
    (await join("/a/market", original)).end()
    await join("/b/shop", copy)
    assert copy.renewed == 1


async def test_one_store_under_two_names_is_no_copy_and_cannot_be(join: Join, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.touch()
    link.symlink_to(real)
    store = Store(7)
    await join("/a/market", store, path=str(real))
    with pytest.raises(ExtensionError, match=f"{link} is that of plugin file /a/market under another name, {real}"):
        await join("/b/shop", store, path=str(link))
    assert store.renewed == 0


async def test_a_copy_that_cannot_have_new_numbers_does_not_start(join: Join) -> None:
    copy = Store(7)
    copy.trouble = StoreError("/x has no room", path="/x", reason="full")
    await join("/a/market", Store(7))
    with pytest.raises(
        StoreError, match="is a copy of another's, and cannot be given numbers of its own: /x has no"
    ) as e:
        await join("/b/shop", copy)
    assert e.value.reason == "full"


async def test_a_copy_has_new_numbers_though_its_claim_cannot_be_written(
    join: Join, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(programs: Programs, claim: Claim) -> None:
        raise OSError(28, "No space left on device")

    copy = Store(7)
    await join("/a/market", Store(7))
    monkeypatch.setattr(Programs, "_write", full)
    await join("/b/shop", copy)
    assert copy.renewed == 1
    assert len(warnings(caplog, "No space left on device")) == 1


async def test_numbers_that_change_later_are_told(join: Join, tmp_path: Path) -> None:
    store = Store()
    await join("/a/market", store)
    store.numbers = (5,)
    await until(lambda: claims(tmp_path)["/a/market"].stores == (5,))


async def test_a_copy_that_is_opened_later_gets_new_numbers_too(
    join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its disk had some trouble, say, when the program started."""
    late = Store()
    await join("/a/market", late)
    await join("/b/shop", Store(7))
    late.numbers = (7,)
    await until(lambda: late.renewed == 1 and claims(tmp_path)["/a/market"].stores == late.numbers)
    await until(lambda: len(warnings(caplog, "plugin file /a/market has a store", "copied from that of /b/shop")) == 2)
    await some_looks()
    assert late.renewed == 1
    assert len(warnings(caplog)) == 2


async def test_a_copy_that_is_opened_later_and_cannot_have_new_numbers_is_told(
    join: Join, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once; it is tried again, and the others are looked for as before."""
    monkeypatch.setattr(module, "_RETRY", POLL)
    late = Store()
    late.trouble = StoreError("/x has no room", path="/x", reason="full")
    await join("/a/market", late)
    await join("/b/shop", Store(7))
    late.numbers = (7,)
    await until(lambda: warnings(caplog, "cannot be given numbers of its own: /x has no room"))
    await some_looks()
    assert len(warnings(caplog, "cannot be given")) == 1
    late.trouble = None
    await until(lambda: claims(tmp_path)["/a/market"].stores == late.numbers)


async def test_copies_of_programs_that_renew_nothing_are_told_of(
    join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    claim = Claim(file="/b/shop", process=1, program=0xB, store="/copy")
    other = Programs(tmp_path, claim, stores=lambda: (7,), patience=0.0, poll=POLL)
    await join("/a/market", Store(7))
    await other.join()
    await until(lambda: len(warnings(caplog, "use two copies of one store")) == 2)
    await other.leave()


async def test_two_files_of_one_name_have_one_store(
    join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "oddwire-market.sqlite3")
    await join("/a/market")
    await join("/b/market")
    await until(lambda: len(warnings(caplog, f"/a/market and /b/market have one name, and so one store, {path}")) == 2)
    assert owner_of_store(str(tmp_path), path, "/b/market") == "/a/market"
    assert owner_of_store(str(tmp_path), path, "/a/market") == "/b/market"
    assert owner_of_store(str(tmp_path), "/elsewhere", "/a/market") == ""
    assert owner_of_store("/nowhere", path, "/a/market") == ""


# What else is in the folder ---------------------------------------------------------------------------


def odd_files(place: Path) -> Iterable[tuple[Path, str]]:
    """Make files with the names of claims; give each, and what is said of it, nothing where nobody has it."""
    place.mkdir(0o700)
    names = (place / f"{number}-{number:016x}" for number in range(1, 1000))
    for content in (b"", b"\xff" * 10, b"{", b'{"file": 5}', b"x" * (2 << 20)):
        path = next(names)
        path.write_bytes(content)
        path.chmod(0o600)
        yield path, ""
    path = next(names)
    os.mkfifo(path)
    yield path, "it is a pipe"
    path = next(names)
    path.mkdir()
    yield path, "it is a folder"
    path = next(names)
    path.symlink_to("/etc/passwd")
    yield path, "is a symbolic link"
    path = next(names)
    path.write_bytes(OTHERS.encode())
    path.chmod(0o666)
    yield path, "has mode 0666"


async def test_whatever_lies_there_does_no_harm(join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = dict(odd_files(tmp_path / FOLDER))
    strange = [tmp_path / FOLDER / name for name in ("readme", "1-2", "1-00000000000000zz", ".hidden")]
    for path in strange:
        path.write_text("mine")
    (tmp_path / FOLDER / f"5-{5:016x}.new").touch()  # of one that was killed while it wrote
    await join("/a/market", extensions=("market",))
    await join("/b/shop", extensions=("market",))
    await until(lambda: len(warnings(caplog, "/a/market and /b/shop")) == 2)
    for path, reason in found.items():
        lines = [line for line in caplog.messages if str(path) in line]
        assert os.path.lexists(path) == bool(reason)
        assert len(lines) == 2 * bool(reason)
        assert all(reason in line for line in lines)
    assert all(path.read_text() == "mine" for path in strange)
    assert not [*(tmp_path / FOLDER).glob("*.new")]
    assert Path("/etc/passwd").exists()


async def test_a_program_that_says_what_nobody_understands(
    join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / FOLDER).mkdir(0o700)
    path = tmp_path / FOLDER / f"9-{9:016x}"
    path.write_bytes(b"{}")
    path.chmod(0o600)
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        await join("/a/market")
        await some_looks()
        assert path.exists()
    (line,) = [line for line in caplog.messages if str(path) in line]
    assert "should be an object with the path of a plugin file" in line


@pytest.mark.parametrize("what", ["file", "link", "open to all", "foreign lock"])
async def test_a_folder_that_cannot_be_used_is_told_once(
    join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    place = tmp_path / FOLDER
    match what:
        case "file":
            place.touch()
        case "link":
            (tmp_path / "elsewhere").mkdir()
            place.symlink_to(tmp_path / "elsewhere")
        case "open to all":
            place.mkdir()
            place.chmod(0o777)
        case _:
            place.mkdir(0o700)
            (place / "lock").symlink_to(tmp_path / "elsewhere")
    store = Store(7)
    one = await join("/a/market", store, extensions=("market",))
    await some_looks()
    assert len(warnings(caplog, "other plugin files of this node cannot be found", str(place))) == 1
    assert len(warnings(caplog)) == 1
    assert not (tmp_path / "elsewhere").is_file()
    await one.leave()


async def test_one_that_cannot_write_joins_once_it_can(
    join: Join, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_RETRY", POLL)
    (tmp_path / FOLDER).touch()
    await join("/a/market", extensions=("market",))
    assert len(warnings(caplog)) == 1
    (tmp_path / FOLDER).unlink()
    await until(lambda: (tmp_path / FOLDER).is_dir() and claims(tmp_path).keys() == {"/a/market"})
    assert len(warnings(caplog)) == 1


async def test_a_lock_that_somebody_keeps_holds_nobody_up(
    join: Join, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    (tmp_path / FOLDER).mkdir(0o700)
    lock = FileLock(tmp_path / FOLDER / "lock")
    await join("/a/market", Store(7))
    assert len(warnings(caplog, "has been locked by another program for too long")) == 1
    lock.release()


async def test_who_waits_for_the_lock_goes_on_when_it_is_free(join: Join, tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(0o700)
    lock = FileLock(tmp_path / FOLDER / "lock")
    joining = asyncio.create_task(join("/a/market"))
    await some_looks()
    assert not joining.done()
    lock.release()
    await joining
    assert claims(tmp_path).keys() == {"/a/market"}


async def test_a_folder_that_is_removed_is_made_again(
    join: Join, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await join("/a/market", extensions=("market",))
    for path in (tmp_path / FOLDER).iterdir():
        path.unlink()
    (tmp_path / FOLDER).rmdir()
    await until(lambda: (tmp_path / FOLDER).is_dir() and claims(tmp_path).keys() == {"/a/market"})
    await join("/b/shop", extensions=("market",))
    await until(lambda: len(warnings(caplog)) == 2)


async def test_the_nodes_own_folder_is_not_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    node = tmp_path / "node"
    one = Programs(node, OTHERS, patience=0.0, poll=POLL)
    await one.join()
    await some_looks()
    assert not node.exists()
    assert len(warnings(caplog, str(node))) == 1
    await one.leave()


async def test_a_fault_of_ours_ends_the_looking_and_is_told(
    join: Join, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(programs: Programs) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Programs, "_look_around", fail)
    await join("/a/market")
    await until(lambda: warnings(caplog, "cannot be found any more"))
    await some_looks()
    assert len(warnings(caplog)) == 1
