import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from oddwire.jsonrpc.program_folder import (
    check_folder,
    is_alive,
    own_folder,
    process_of,
    program_folder,
    remove_stale,
    stopped_process,
)
from oddwire.jsonrpc.socket_path import socket_address

GONE = 1 << 22  # a process id that Linux gives to no process


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def left_over(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
    return path


def test_the_folder_is_the_users_runtime_folder_and_else_one_in_tmp(runtime: Path, monkeypatch) -> None:
    in_tmp = Path(f"/tmp/oddwire-{os.geteuid()}")
    assert program_folder() == runtime / "oddwire"
    for useless in ("", "relative", str(runtime / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", useless)
        assert program_folder() == in_tmp


def test_it_is_made_for_its_owner_alone(runtime: Path) -> None:
    before = os.umask(0)
    try:
        assert own_folder() == runtime / "oddwire"
    finally:
        os.umask(before)
    assert stat.S_IMODE((runtime / "oddwire").stat().st_mode) == 0o700
    assert own_folder() == runtime / "oddwire"


def test_what_others_may_use_is_refused_with_the_remedy(runtime: Path) -> None:
    folder = runtime / "oddwire"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(PermissionError, match=f"has mode 0755: others may use it; run: chmod 700 {folder}"):
        own_folder()
    folder.rmdir()
    folder.symlink_to(runtime)
    with pytest.raises(PermissionError, match="should be a folder; remove it"):
        own_folder()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a folder of another user")
def test_another_users_is_refused(runtime: Path) -> None:
    folder = own_folder()
    os.chown(folder, 12345, -1)
    with pytest.raises(PermissionError, match="belongs to user 12345; have its owner or root remove it"):
        check_folder(folder)


def test_a_process_is_in_the_name() -> None:
    assert process_of(Path("a/17.rpc")) == 17
    for other in ("talk.rpc", "99999999999999.rpc", "lock"):
        assert process_of(Path(other)) is None


def test_a_socket_of_a_dead_process_is_removed_and_no_other(tmp_path: Path) -> None:
    dead, ours, named = (left_over(tmp_path / name) for name in (f"{GONE}.rpc", f"{os.getpid()}.rpc", "talk.rpc"))
    link = tmp_path / f"{GONE + 1}.rpc"
    link.symlink_to(tmp_path / "nothing")
    assert [remove_stale(path) for path in (dead, ours, named, link)] == [True, False, False, True]
    assert sorted(tmp_path.iterdir()) == sorted([ours, named])


def test_one_at_which_somebody_listens_is_alive(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 100) / f"{GONE}.rpc"  # longer than the kernel takes
    path.parent.mkdir()
    assert not is_alive(path)
    with socket.socket(socket.AF_UNIX) as listening:
        with socket_address(path) as address:
            listening.bind(address)
        listening.listen()
        assert is_alive(path)
        assert not remove_stale(path)
    assert not is_alive(path)


LISTENER = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
LISTENER += "; print(flush=True); sys.stdin.read()"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does not tell who listens")
def test_one_that_is_stopped_is_told_by_its_process(tmp_path: Path) -> None:
    path = tmp_path / "rpc"
    assert stopped_process(path) is None
    command = [sys.executable, "-IS", "-c", LISTENER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        listener.stdout.readline()
        assert stopped_process(path) is None
        listener.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, listener.pid, os.WSTOPPED | os.WNOWAIT)
        assert stopped_process(path) == listener.pid
        listener.kill()
    assert stopped_process(path) is None
