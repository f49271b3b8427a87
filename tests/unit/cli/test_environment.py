"""Commands in the surroundings that services have: each works, or says in one line what is wrong; never a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.unit.cli.test_run import NOBODY, QUOTE

from oddwire.cli.shutdown import LIMIT

PATIENCE = 60.0


@dataclass
class Surroundings:
    """What is different: variables (None for unset), and what is done in the process before the program begins."""

    variables: dict[str, str | None] = field(default_factory=dict)
    prepare: Callable[[], object] | None = None
    prefix: tuple[str, ...] = ()


def _gone() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)  # noqa: PTH106


def _no_waiting() -> None:
    for descriptor in range(3):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_NONBLOCK)


def _few_files(count: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _ignored() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)


def _no_file_grows() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


WORKING = {
    "no HOME": Surroundings({"HOME": None}),
    "stdin closed": Surroundings(prepare=lambda: os.close(0)),
    "stdout closed": Surroundings(prepare=lambda: os.close(1)),
    "stderr closed": Surroundings(prepare=lambda: os.close(2)),
    "all closed": Surroundings(prepare=lambda: os.closerange(0, 3)),
    "ASCII": Surroundings({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "ASCII asked for": Surroundings({"PYTHONIOENCODING": "ascii"}),
    "a locale that is not installed": Surroundings({"LC_ALL": "xx_YY.UTF-8", "PYTHONUTF8": "0"}),
    "a folder that is gone": Surroundings(prepare=_gone),
    "umask 077": Surroundings(prepare=lambda: os.umask(0o077)),
    "few files": Surroundings(prepare=_few_files(8)),
    "no PATH": Surroundings({"PATH": None}),
    "no TMPDIR": Surroundings({"TMPDIR": "/nowhere/at/all"}),
    "signals ignored": Surroundings(prepare=_ignored),
    "signals blocked": Surroundings(prepare=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())),
    "descriptors that do not wait": Surroundings(prepare=_no_waiting),
}


@pytest.fixture
def run(tmp_path: Path):
    async def run(surroundings: Surroundings, *argv: str, service: bool = False) -> tuple[int, str, str]:
        variables = {**os.environ, "HOME": str(tmp_path / "home"), **surroundings.variables}
        environment = {name: value for name, value in variables.items() if value is not None}
        environment.pop("PYTHONASYNCIODEBUG", None)  # it reports what was slow on stderr, and a busy machine is slow
        process = subprocess.Popen(
            [*surroundings.prefix, sys.executable, *argv],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=surroundings.prepare,
        )
        try:
            if service:
                with contextlib.suppress(subprocess.TimeoutExpired):  # else it has ended by itself, with an error
                    await asyncio.to_thread(process.wait, 3.0)
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    await asyncio.to_thread(process.wait, 2 * LIMIT)
                process.send_signal(signal.SIGTERM)  # a busy machine may not have come to where it heeds the first
            out, err = await asyncio.to_thread(process.communicate, None, PATIENCE)
        finally:
            process.kill()
        return process.returncode, out, err

    return run


FIRST = ("all closed", "ASCII", "a folder that is gone", "few files", "signals blocked")
OTHERS = [pytest.param(name, marks=pytest.mark.long) for name in WORKING if name not in FIRST]


@pytest.mark.parametrize("name", [*FIRST, *OTHERS])
async def test_commands_work_there(run, tmp_path: Path, name: str) -> None:
    quote = tmp_path / "quote.py"
    quote.write_text(QUOTE)
    module = ("-m", "oddwire.cli.main")
    local = ("--listen", "127.0.0.1:0")
    services = {
        "run": (*module, "run", "echo", str(quote), *local, "--data-dir", str(tmp_path / "data")),
        "script": (str(quote), *local),
        "node": (*module, "node", "--lightning-dir", str(tmp_path / "node"), "--addr", "127.0.0.1:0"),
    }
    brief = {
        "plugin": ((*module, "plugin", str(quote), "-o", str(tmp_path / "quote")), 0),
        "send": ((*module, "send", NOBODY, "echo.Request", "text=hi"), 1),
        "call": ((*module, "call", "--lightning-dir", str(tmp_path / "nobody"), "getinfo"), 1),
    }
    surroundings = WORKING[name]
    ends = await asyncio.gather(
        *(run(surroundings, *argv, service=True) for argv in services.values()),
        *(run(surroundings, *argv) for argv, _ in brief.values()),
    )
    codes = dict.fromkeys(services, 0) | {command: code for command, (_, code) in brief.items()}
    for (command, code), (found, _, err) in zip(codes.items(), ends, strict=True):
        # Before it takes signals SIGTERM is the kernel's, and while it imports it ends at once: a busy one is late
        ended = (code, -signal.SIGTERM, 128 + signal.SIGTERM) if command in services else (code,)
        assert found in ended, (command, err)
        assert "Traceback" not in err, command
        assert code == 0 or name in ("stderr closed", "all closed") or len(err.splitlines()) == 1, (command, err)


async def test_the_plugin_that_was_written_runs_without_home_and_locale(run, tmp_path: Path) -> None:
    (tmp_path / "quote.py").write_text(QUOTE)
    plain = Surroundings()
    assert (await run(plain, "-m", "oddwire.cli.main", "plugin", "./quote.py", "-o", "quote"))[0] == 0
    odd = Surroundings({"HOME": None, "LC_ALL": "C", "PYTHONUTF8": "0", "PATH": None, "LIGHTNINGD_PLUGIN": "1"})
    code, out, err = await run(odd, str(tmp_path / "quote"))  # its node has gone at once
    assert (code, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("argv", "surroundings", "line"),
    [
        (["node", "--lightning-dir", "here"], Surroundings(prepare=_gone), "here: the current folder is gone; "),
        (["run", "echo", "--data-dir", "{}/data"], Surroundings(prepare=_no_file_grows), "data: File too large"),
        (["node", "--lightning-dir", "{}/node"], Surroundings(prepare=_no_file_grows), ": File too large"),
        (
            ["plugin", "echo", "-o", "{}/echo"],
            Surroundings(prepare=_no_file_grows),
            "cannot be written: File too large",
        ),
        (
            ["run", "echo"],
            Surroundings(prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))),
            "only 8 files may be open at a time, 64 at least are needed; raise the limit, ulimit -n",
        ),
    ],
)
async def test_what_cannot_work_is_one_line(
    run, tmp_path: Path, argv: list[str], surroundings: Surroundings, line: str
) -> None:
    code, out, err = await run(surroundings, "-m", "oddwire.cli.main", *(part.format(tmp_path) for part in argv))
    assert code in (1, 2)
    assert out == ""
    (found,) = err.splitlines()
    assert line in found
    assert "None" not in found


async def test_a_user_whom_nobody_knows_is_asked_for_a_directory(run) -> None:
    stranger = ("unshare", "--map-user=54321")
    works = shutil.which("unshare") and subprocess.run([*stranger, "true"], capture_output=True, check=False)
    if not works or works.returncode != 0:
        pytest.skip("this system lets nobody have another user id")
    surroundings = Surroundings({"HOME": None}, prefix=stranger)
    for command in (["node"], ["call", "getinfo"]):
        code, _, err = await run(surroundings, "-m", "oddwire.cli.main", *command)
        assert code == 2
        assert err == (
            "oddwire: ~/.oddwire: there is no home directory, as HOME is not set and user 54321 is in no passwd; "
            "set HOME, or give --lightning-dir DIR\n"
        )


TERMINAL = """
import os, pty, subprocess, sys, time
leader, master = pty.fork()
if leader == 0:  # has a terminal of its own, as a shell has, and starts a job in the background
    job = subprocess.Popen(sys.argv[1:], process_group=0)
    print("job", job.pid, flush=True)
    time.sleep(1000)
while data := os.read(master, 4096):
    os.write(1, data)
    if b"listening" in data:
        os.write(master, b"typed here\\n")
"""


async def test_a_job_in_the_background_is_not_stopped_by_what_is_typed(start, tmp_path: Path) -> None:
    method = '@extension.rpc("typed")\nasync def typed(context: AppContext, text: str) -> None: ...\n\n'
    (tmp_path / "quote.py").write_text(QUOTE.replace("if __name__", f"{method}if __name__"))
    (tmp_path / "terminal.py").write_text(TERMINAL)
    run = (sys.executable, "quote.py", "--listen", "127.0.0.1:0")
    shell = await start(*run, program=tmp_path / "terminal.py")
    job = int((await shell.line("job ")).split()[-1])
    await shell.line("listening")
    for _ in range(20):
        await asyncio.sleep(0.1)
        assert Path(f"/proc/{job}/stat").read_text().rpartition(")")[2].split()[0] != "T"  # stopped
    os.kill(job, signal.SIGKILL)
    leader = int(Path(f"/proc/{shell.process.pid}/task/{shell.process.pid}/children").read_text().split()[0])
    os.kill(leader, signal.SIGKILL)
