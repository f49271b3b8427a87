"""Files that are ours alone."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oddwire.cli.exit import CommandFailure
from oddwire.cli.keyfile import KEY_FILE, load_key
from oddwire.errors import OddwireError
from oddwire.files import FileLock, make_folder, open_database, open_log, open_to_read, read_file
from oddwire.node.directory_lock import DirectoryLock
from oddwire.node.node_database import NodeDatabase
from oddwire.node.secret import SECRET_FILE, load_secret
from oddwire.session.store.database import Database


def test_a_lock_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(path)
    assert path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(BlockingIOError) as caught:
        FileLock(path)
    assert caught.value.strerror == str(os.getpid())
    lock.release()
    lock.release()
    FileLock(path).release()


def test_a_new_database_is_private_and_writes_through(tmp_path: Path) -> None:
    path = tmp_path / "database"
    database = open_database(path)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    finally:
        database.close()


def test_another_kind_of_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("remember the milk" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        open_database(path)
    assert path.read_text() == "remember the milk" * 100


def test_where_no_file_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(NotADirectoryError):
        open_database(tmp_path / "folder" / "database")


# Every file × everything that can lie in its place ----------------------------------------------------


def _lock(path: Path) -> None:
    FileLock(path).release()


def _database(path: Path) -> None:
    open_database(path).close()


def _log(path: Path) -> None:
    os.close(open_log(path))


def _key(path: Path) -> None:
    load_key(path.parent)


def _secret(path: Path) -> None:
    load_secret(path.parent)


def _pid(path: Path) -> None:
    DirectoryLock(path.parent, "regtest").release()


def _store(path: Path) -> None:
    Database(str(path)).close()


def _store_lock(path: Path) -> None:
    Database(str(path).removesuffix(".lock")).close()


def _beside(path: Path) -> None:
    Database(str(path).removesuffix("-wal")).close()


def _node_store(path: Path) -> None:
    NodeDatabase(path).close()


# By the name that the product gives it: what opens it, and the mode it is made with
FILES: dict[str, tuple[Callable[[Path], None], int]] = {
    "lock": (_lock, 0o600),
    "database": (_database, 0o600),
    "log": (_log, 0o600),
    KEY_FILE: (_key, 0o600),
    SECRET_FILE: (_secret, 0o600),
    "lightningd-regtest.pid": (_pid, 0o640),
    "store.sqlite3": (_store, 0o600),
    "store.sqlite3.lock": (_store_lock, 0o600),
    "store.sqlite3-wal": (_beside, 0o600),
    "oddwire.sqlite3": (_node_store, 0o600),
}
READ_ONLY_SECRETS = (KEY_FILE, SECRET_FILE)
NOBODY = 65534


@pytest.fixture(autouse=True)
def _no_hanging() -> Iterator[None]:
    """A pipe or a terminal in a file's place must not hold us up."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(tmp_path: Path, name: str) -> Path:
    """A file as the product makes it, once it has run; and what it must not touch is beside it."""
    folder = tmp_path / "folder"
    folder.mkdir(0o700)
    path = folder / name
    FILES[name][0](path)
    if not path.exists():  # SQLite has removed it
        path.touch(0o600)
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "precious").chmod(0o600)
    return path


def refused(name: str, path: Path, match: str) -> None:
    with pytest.raises((OSError, OddwireError, CommandFailure), match=match) as caught:
        FILES[name][0](path)
    error = caught.value
    assert path.name.removesuffix("-wal").removesuffix(".lock") in str(error), "it says which"
    assert (path.parent.parent / "precious").read_text() == "precious"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_made_private_under_any_umask(tmp_path: Path, name: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        FILES[name][0](tmp_path / name)
    finally:
        os.umask(before)
    for file in tmp_path.iterdir():
        mode = stat.S_IMODE(file.stat().st_mode)
        assert mode & ~(FILES[name][1] if file.name == name else 0o600) == 0, file


@pytest.mark.parametrize("mode", [0o666, 0o622, 0o602, 0o660, 0o777, 0o644, 0o604, 0o640])
def test_what_others_may_use_is_refused(place: Path, name: str, mode: int) -> None:
    place.chmod(mode)
    writes_alone = name in ("lock", "lightningd-regtest.pid", "store.sqlite3.lock")
    if name == "log" or (writes_alone and not mode & 0o022):
        FILES[name][0](place)  # its readers are the operator's choice, or learn a number
    else:
        refused(name, place, rf"has mode {mode:04o}: others than its owner may .* it; .*chmod 600 .*{place.name}")
        assert stat.S_IMODE(place.stat().st_mode) == mode


def test_a_pipe_in_its_place(place: Path, name: str) -> None:
    place.unlink()
    os.mkfifo(place, 0o600)
    refused(name, place, "is a pipe")


def test_a_folder_in_its_place(place: Path, name: str) -> None:
    place.unlink()
    place.mkdir()
    refused(name, place, "(?i)is a (folder|directory)")


def test_a_socket_in_its_place(place: Path, name: str) -> None:
    place.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
    place.chmod(0o600)
    refused(name, place, "is a socket")


def test_a_device_in_its_place(place: Path, name: str) -> None:
    place.unlink()
    place.symlink_to("/dev/null")
    if name == "log":
        FILES[name][0](place)
    else:
        refused(name, place, "is a (device|symbolic link)")


def test_a_link_to_nothing_makes_nothing(place: Path, name: str) -> None:
    place.unlink()
    place.symlink_to(place.parent.parent / "nothing")
    refused(name, place, "is a symbolic link")
    assert not (place.parent.parent / "nothing").exists()


def test_a_link_in_a_circle(place: Path, name: str) -> None:
    place.unlink()
    place.symlink_to(place)
    refused(name, place, "(?i)symbolic link")


def test_a_link_of_ours_is_followed(place: Path, name: str) -> None:
    """As secrets are mounted, and databases moved to another disk; never beside a database, where SQLite rules."""
    moved = place.parent.parent / "moved"
    place.rename(moved)
    place.symlink_to(moved)
    if name.endswith(("-wal", "lock", ".pid")):
        refused(name, place, "is a symbolic link")
    else:
        FILES[name][0](place)
        assert place.is_symlink()


def test_another_name_of_a_file(place: Path, name: str) -> None:
    """What is written to ours would be written to it."""
    place.unlink()
    os.link(place.parent.parent / "precious", place)
    if name == "log":
        FILES[name][0](place)
    elif name in READ_ONLY_SECRETS:
        refused(name, place, "should (hold 64 hex digits|be 32 bytes)")
    else:
        refused(name, place, "(has 2 names|not a database)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")
@pytest.mark.parametrize("link", [False, True])
def test_a_file_of_another_user(place: Path, name: str, link: bool) -> None:
    if link:
        place.unlink()
        place.symlink_to(place.parent.parent / "precious")
        os.chown(place, NOBODY, NOBODY, follow_symlinks=False)
        refused(name, place, f"(is a symbolic link that user {NOBODY} has made|it is a symbolic link)")
    else:
        os.chown(place, NOBODY, NOBODY)
        refused(name, place, f"belongs to user {NOBODY}; if it should be yours, run: chown 0 ")


def as_nobody(what: Callable[[], None]) -> str:
    """Do it in a process without rights, and give what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            what()
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.skipif(os.geteuid() != 0, reason="root may read anything, and only root can become somebody else")
@pytest.mark.parametrize("mode", [0o400, 0o000])
def test_read_only_as_somebody_without_rights(name: str, mode: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        os.chown(made, NOBODY, NOBODY)
        Path(made).chmod(0o700)
        path = Path(made) / name
        assert as_nobody(lambda: FILES[name][0](path)) == ""
        if not path.exists():
            return
        assert path.stat().st_uid == NOBODY
        path.chmod(mode)
        said = as_nobody(lambda: FILES[name][0](path))
        if name in READ_ONLY_SECRETS and mode == 0o400:
            assert said == ""
        else:
            assert re.search("(?i)permission denied|read-?only", said), said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_of_another_user() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "root's"
        folder.mkdir(0o755)
        os.chown(folder, 1, 1)
        Path(made).chmod(0o755)
        assert "belongs to user 1; if it should be yours, run: chown 65534" in as_nobody(lambda: make_folder(folder))
        os.chown(folder, 0, 0)
        assert as_nobody(lambda: make_folder(folder)) == "", "that it cannot write there, the system tells"


@pytest.mark.parametrize("content", ["precious", "12 monkeys", "-1", "1.5"])
def test_a_lock_takes_no_file_of_other_content(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_text(content)
    with pytest.raises(PermissionError, match="holds something else than a process id; move it away"):
        FileLock(tmp_path / "lock")
    assert (tmp_path / "lock").read_text() == content


@pytest.mark.parametrize("content", ["", "4711\n", "4711"])
def test_a_lock_of_who_died_is_taken(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_text(content)
    FileLock(tmp_path / "lock").release()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


# Folders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_every_folder_is_made_private(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_folder(tmp_path / "a" / "b" / "c")
        make_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    for folder in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("mode", "right"), [(0o777, False), (0o702, False), (0o1777, True), (0o775, True), (0o755, True)]
)
def test_folders_where_everybody_writes(tmp_path: Path, mode: int, right: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    for action in (make_folder, lambda folder: _database(folder / "database")):
        if right:
            action(folder)
        else:
            with pytest.raises(
                PermissionError, match=f"has mode {mode:04o}: everybody may put files there; run: chmod "
            ):
                action(folder)


@pytest.mark.parametrize("kind", ["file", "pipe", "link to nothing", "link to a file"])
def test_what_is_no_folder(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "folder"
    if kind == "file":
        path.touch()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "other")
        if kind == "link to a file":
            (tmp_path / "other").touch()
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        make_folder(path)
    with pytest.raises(OSError, match=r"File exists|Not a directory|No such file"):
        make_folder(path / "below")
    assert not (tmp_path / "other").is_dir()


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    make_folder(tmp_path / "folder" / "below")
    assert (tmp_path / "real" / "below").is_dir()


# Logs -----------------------------------------------------------------------------------------------


def test_a_pipe_is_read_to_its_end_and_not_waited_for_if_no_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert read_file(path, 10) == b""
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY)
    os.write(writing, b"one, ")
    with open_to_read(path) as file:
        assert file.read(5) == b"one, "
        os.write(writing, b"two")
        os.close(writing)
        assert file.read() == b"two"
    os.close(reading)


def test_what_is_read_is_no_folder_and_has_so_many_bytes_at_most(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        open_to_read(tmp_path)
    assert caught.value.filename == str(tmp_path)
    (tmp_path / "file").write_bytes(b"0123456789")
    assert read_file(tmp_path / "file", 10) == b"0123456789"
    with pytest.raises(OSError, match="has more than 9 bytes"):
        read_file(tmp_path / "file", 9)
    with pytest.raises(OSError, match="has more than 9 bytes"):
        read_file("/dev/zero", 9)


def test_a_log_may_go_to_a_pipe_that_somebody_reads(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log", 0o600)
    reading = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    writing = open_log(tmp_path / "log")
    try:
        assert not os.get_blocking(writing)
        os.write(writing, b"line\n")
        assert os.read(reading, 100) == b"line\n"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    for _ in range(2):
        with os.fdopen(open_log(tmp_path / "log"), "a") as file:
            file.write("line\n")
    assert (tmp_path / "log").read_text() == "line\nline\n"


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stderr", "/dev/stdout"])
def test_a_log_may_go_to_a_device(path: str) -> None:
    descriptor = open_log(Path(path))
    assert os.write(descriptor, b"") == 0
    os.close(descriptor)
