"""filedrop's names and files, without peers."""

import asyncio
import errno
import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire_extensions.filedrop import files
from oddwire_extensions.filedrop.files import Part, Source
from oddwire_extensions.filedrop.names import candidates, safe_name
from oddwire_extensions.filedrop.quarantine import parts_of, remove_part
from oddwire_extensions.filedrop.threads import in_thread

NAME = "0" * 32
NAMES = {
    "report.pdf": "report.pdf",
    "Müller & Söhne (3).tar.gz": "Müller & Söhne (3).tar.gz",
    "cafe\u0301": "café",
    "日本語.txt": "日本語.txt",
    "../../etc/passwd": "_._.._etc_passwd",
    "/etc/passwd": "_etc_passwd",
    "..\\up": "_._up",
    "C:evil": "C_evil",
    "file.txt:stream": "file.txt_stream",
    "": "file",
    ".": "file",
    "..": "file",
    "   ": "file",
    ".bashrc": "_bashrc",
    "-rf": "_rf",
    "~root": "_root",
    "name. . .": "name",
    "a\0b\x07c\x7f": "abc",
    "one\ntwo\tthree": "one two three",
    "one\u2028two\u00a0three": "one two three",
    "invoice\u202efdp.exe": "invoicefdp.exe",
    "zero\u200bwidth\ufeff": "zerowidth",
    "private\ue000": "private",
    "\u3164": "file",
    "\u115f\u1160": "file",
    "invoice.pdf\u2800\u2800.exe": "invoice.pdf  .exe",
    "a\u034f.txt": "a.txt",
    "a\ufe0f.txt": "a.txt",
    "a\U000e0100\uffa0\u17b4\u180b": "a",
    "e\u034f\u0301": "é",
    "CON": "_CON",
    "con.txt": "_con.txt",
    "nul .tar.gz": "_nul .tar.gz",
    "LPT¹": "_LPT¹",
    "conference": "conference",
    "x" * 300: "x" * 200,
    "é" * 150 + ".pdf": "é" * 98 + ".pdf",
    "a." + "b" * 300: "a." + "b" * 198,
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert safe_name(name) == NAMES[name]


@given(st.text(max_size=255))
def test_any_name_is_that_of_a_file_in_its_folder(name: str) -> None:
    safe = safe_name(name)
    assert safe.isprintable()
    assert not set(safe) & set('/\\<>:"|?*')
    assert safe[0] not in ".-~ "
    assert safe[-1] not in ". "
    assert len(safe.encode()) <= 200
    assert safe_name(safe) == safe
    assert all(len(other.encode()) <= 255 for other in candidates(safe))


def opened(folder: Path, safe: int = 0) -> Part:
    part = Part(folder, NAME)
    part.open(safe)
    while not part.is_hashed:
        part.catch_up()
    return part


def test_a_part_is_kept_as_far_as_it_is_safe(tmp_path) -> None:
    part = opened(tmp_path)
    part.write(b"hello, ")
    part.sync()
    part.write(b"lost")
    part.close()
    part = opened(tmp_path, 7)
    assert part.size == 7
    part.write(b"world")
    assert part.digest() == hashlib.sha256(b"hello, world").digest()
    assert part.place("x.txt") == tmp_path / "x.txt"
    assert part.place("x.txt") == tmp_path / "x.txt"  # as after a crash right behind it
    part.close()
    remove_part(tmp_path, NAME)
    remove_part(tmp_path, NAME)
    assert (tmp_path / "x.txt").read_bytes() == b"hello, world"
    assert parts_of(tmp_path) == {}
    assert parts_of(tmp_path / "nowhere") == {}


def test_what_was_hashed_is_not_read_again(tmp_path, monkeypatch) -> None:
    part = opened(tmp_path)
    part.write(b"hello, ")
    hashed = part.hashed()
    part.close()
    with monkeypatch.context() as patch:
        patch.delattr(os, "pread")
        part = Part(tmp_path, NAME)
        part.open(7, hashed)
        assert part.is_hashed
        part.write(b"world")
        assert part.digest() == hashlib.sha256(b"hello, world").digest()
        part.close()
    part.open(5, hashed)  # not as long as what was hashed
    assert not part.is_hashed
    part.close()


def test_parts_are_found_with_their_ages(tmp_path) -> None:
    for number, age in ((1, 0), (2, 100)):
        part = Part(tmp_path, f"{number}")
        part.open(0)
        part.close()
        then = time.time() - age
        os.utime(tmp_path / files.QUARANTINE / f"{number}.part", (then, then))
    (tmp_path / files.QUARANTINE / "other").touch()
    (tmp_path / files.QUARANTINE / "3.name").touch()
    assert {name: round(age, -1) for name, (_, age) in parts_of(tmp_path).items()} == {"1": 0, "2": 100, "3": 0}


def test_a_part_shorter_than_it_should_be_goes_on_from_there(tmp_path) -> None:
    part = opened(tmp_path)
    part.write(b"abc")
    part.close()
    assert opened(tmp_path, 1000).size == 3


def test_a_part_that_is_cut_off_while_it_is_read(tmp_path) -> None:
    part = opened(tmp_path)
    part.write(b"abc")
    part.close()
    again = Part(tmp_path, NAME)
    again.open(3)
    os.truncate(tmp_path / files.QUARANTINE / f"{NAME}.part", 0)
    with pytest.raises(OSError, match="cut off"):
        again.catch_up()
    again.close()


def test_file_systems_without_hard_links(tmp_path, monkeypatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    (tmp_path / "x").write_text("mine")
    part = opened(tmp_path)
    part.write(b"theirs")
    assert part.place("x") == tmp_path / "x (2)"
    part.close()
    assert (tmp_path / "x").read_text() == "mine"
    assert (tmp_path / "x (2)").read_bytes() == b"theirs"


@pytest.fixture
def no_links(monkeypatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


def test_without_hard_links_a_moved_part_is_found_where_it_is(tmp_path, no_links) -> None:
    (tmp_path / "x").write_text("mine")
    part = opened(tmp_path)
    part.write(b"theirs")
    part.sync()
    assert part.place("x") == tmp_path / "x (2)"
    part.close()  # and killed before that was written down
    part = opened(tmp_path, 6)
    assert part.digest() == hashlib.sha256(b"theirs").digest()
    assert part.place("x") == tmp_path / "x (2)"
    part.displace(tmp_path / "x")  # another file
    part.displace(tmp_path / "x (2)")
    part.displace(tmp_path / "x (2)")
    part.close()
    remove_part(tmp_path, NAME)
    assert list((tmp_path / files.QUARANTINE).iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x"]
    assert (tmp_path / "x").read_text() == "mine"


@pytest.mark.parametrize("found", ["nothing", "another size", "a link", "a folder"])
def test_without_hard_links_another_file_in_its_place_is_none_of_ours(tmp_path, no_links, found) -> None:
    part = opened(tmp_path)
    part.write(b"theirs")
    part.place("x")
    part.close()
    (tmp_path / "x").unlink()
    match found:
        case "another size":
            (tmp_path / "x").write_text("mine")
        case "a link":
            (tmp_path / "x").symlink_to(tmp_path / "elsewhere")
        case "a folder":
            (tmp_path / "x").mkdir()
    part = opened(tmp_path, 6)
    assert part.size == 0
    part.write(b"theirs")
    assert part.place("x") == tmp_path / ("x" if found == "nothing" else "x (2)")
    part.close()


def test_without_hard_links_a_name_is_reserved_once(tmp_path, no_links, monkeypatch) -> None:
    part = opened(tmp_path)
    part.write(b"theirs")
    replace = os.replace

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        part.place("x")
    assert not (tmp_path / "x").exists()
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda *_, **__: None)  # killed right behind that
        with pytest.raises(OSError, match="Input/output"):
            part.place("x")
    assert (tmp_path / "x").stat().st_size == 0
    monkeypatch.setattr(os, "replace", replace)
    assert part.place("x") == tmp_path / "x"
    part.close()
    assert (tmp_path / "x").read_bytes() == b"theirs"


def test_a_part_that_was_written_to_is_hashed_anew(tmp_path) -> None:
    part = opened(tmp_path)
    part.write(b"hello, ")
    hashed = part.hashed()
    part.close()
    assert part.hashed() is None
    with (tmp_path / files.QUARANTINE / f"{NAME}.part").open("r+b") as file:
        os.utime(file.fileno(), ns=(1, 1))
        file.write(b"J")
    part.open(7, hashed)
    assert not part.is_hashed
    part.catch_up()
    assert part.digest() == hashlib.sha256(b"Jello, ").digest()
    part.close()


def test_no_link_is_followed(tmp_path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "target").write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / files.QUARANTINE).symlink_to(elsewhere)
    with pytest.raises(ValueError, match="should be a folder, not a link or a file"):
        opened(folder)
    (folder / files.QUARANTINE).unlink()
    (folder / files.QUARANTINE).mkdir(mode=0o700)
    part = folder / files.QUARANTINE / f"{NAME}.part"
    part.symlink_to(elsewhere / "target")
    with pytest.raises(OSError, match="symbolic links"):
        opened(folder)
    part.unlink()
    os.mkfifo(part)
    with pytest.raises(ValueError, match="should be a file"):
        opened(folder)
    assert (elsewhere / "target").read_text() == "mine"
    (tmp_path / "link").symlink_to(elsewhere / "target")
    link = Source(tmp_path / "link")
    with pytest.raises(ValueError, match="should be a file, not a link"):
        link.open()


def test_a_quarantine_that_others_may_use_is_refused(tmp_path) -> None:
    (tmp_path / files.QUARANTINE).mkdir()
    (tmp_path / files.QUARANTINE).chmod(0o755)
    with pytest.raises(ValueError, match="should be its owner's alone: chmod 700"):
        opened(tmp_path)


def test_nothing_is_left_open(tmp_path) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - read at once
    for _ in range(3):
        part = Part(tmp_path, NAME)
        part.open(0)
        part.close()
        part.close()
        (tmp_path / "x").touch()
        source = Source(tmp_path / "x")
        source.open()
        source.close()
        source.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208


def test_a_source_notices_every_change(tmp_path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    source = Source(path)
    source.open()
    data, mark = source.read_marked(8, 100)
    assert (data, source.size) == (b"89", 10)
    os.utime(path, ns=(1, 1))
    assert source.mark != mark
    (tmp_path / "y").write_bytes(b"0123456789")
    (tmp_path / "y").replace(path)
    other = Source(path)
    other.open()
    assert other.mark != mark
    source.close()
    other.close()


async def test_a_thread_is_waited_for() -> None:
    ended = []

    def work() -> None:
        time.sleep(0.1)
        ended.append(1)
        raise OSError("nobody is told")

    task = asyncio.create_task(in_thread(work))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]
    with pytest.raises(OSError, match="nobody is told"):
        await in_thread(work)
    assert await in_thread(int, "12") == 12
