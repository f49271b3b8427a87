from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from oddwire.errors import ExtensionError
from oddwire.node.plugins.process import PluginLimits, PluginProcess

LOOPS = ("asyncio", "uvloop")


class Run:
    """A process, and what it said."""

    def __init__(self, path: Path, limits: PluginLimits, environment: dict[str, str]) -> None:
        self.documents: asyncio.Queue[Any] = asyncio.Queue()
        self.lines: list[str] = []
        self.room: asyncio.Queue[str] = asyncio.Queue()
        self.behind: asyncio.Queue[bool] = asyncio.Queue()
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.process = PluginProcess(
            str(path),
            directory=path.parent,
            environment={**os.environ, **environment},
            limits=limits,
            on_document=self.documents.put_nowait,
            on_stderr=self.lines.append,
            on_end=self.end.set_result,
            on_crowded=lambda crowded: self.room.put_nowait("crowded" if crowded else "free"),
            on_stalled=lambda: self.room.put_nowait("stalled"),
            on_behind=self.behind.put_nowait,
        )


@pytest_asyncio.fixture
async def run(tmp_path: Path) -> AsyncIterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(code: str, *, environment: dict[str, str] | None = None, **limits: Any) -> Run:
        path = tmp_path / "program"
        path.write_text(f"#!{sys.executable} -IS\nimport os, signal, sys, time\n{code}")
        path.chmod(0o755)
        runs.append(Run(path, PluginLimits(**limits), environment or {}))
        return runs[-1]

    yield start
    for one in runs:
        one.process.kill("the test is over")
        await one.process.reaped


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


ECHO = "for line in sys.stdin: sys.stdout.write(line); sys.stdout.flush()"
WAIT = "sys.stdin.read()"


async def test_documents_go_in_and_out(run: Callable[..., Run]) -> None:
    echo = run(ECHO)
    echo.process.send(b'{"a":1}\n\n')
    assert await echo.documents.get() == {"a": 1}
    echo.process.send(b'{"b":[2]}\n')
    echo.process.send(b"[3]\n")
    assert [await echo.documents.get(), await echo.documents.get()] == [{"b": [2]}, [3]]


async def test_documents_may_come_in_pieces_and_joined(run: Callable[..., Run]) -> None:
    one = run("""
for piece in ('{"a": "x', '\\\\"}y', 'é"}{"b"', ':\\n\\n2}  [', ']'):
    os.write(1, piece.encode()); time.sleep(0.02)
sys.stdin.read()
""")
    assert [await one.documents.get() for _ in range(3)] == [{"a": 'x"}yé'}, {"b": 2}, []]


async def test_what_is_sent_is_whole_however_much_it_is(run: Callable[..., Run]) -> None:
    echo = run(ECHO)
    sent = [f'{{"n":{n},"filling":"{"x" * (n % 7) * 10_000}"}}\n'.encode() for n in range(200)]
    for document in sent:
        echo.process.send(document)
    for n in range(200):
        assert (await echo.documents.get())["n"] == n


async def test_environment_directory_and_process_group(run: Callable[..., Run], tmp_path: Path) -> None:
    one = run(
        """
import json
print(json.dumps({"cwd": os.getcwd(), "it": os.environ["IT"], "group": os.getpgid(0), "pid": os.getpid()}), flush=True)
sys.stdin.read()""",
        environment={"IT": "is here"},
    )
    document = await one.documents.get()
    assert document == {
        "cwd": str(tmp_path.resolve()),
        "it": "is here",
        "group": one.process.pid,
        "pid": one.process.pid,
    }
    assert document["group"] != os.getpgid(0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "exited"),
        ("sys.exit(3)", "exited with status 3"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "was ended by SIGTERM"),
        ("os.write(1, b'{\"half\": ')", "exited in the middle of a JSON document"),
        ("os.write(1, b'hello world\\n'); sys.stdin.read()", "its stdout is not JSON: 'hello world\\n'"),
        ("os.write(1, b'}\\n\\n'); sys.stdin.read()", "its stdout is not JSON:"),
        ("os.write(1, b'{\"a\": }\\n\\n'); sys.stdin.read()", "its stdout is not JSON:"),
        ("os.write(1, b'\\xff\\xfe'); sys.stdin.read()", "its stdout is not JSON:"),
        ("os.write(1, b'{}\\n\\n123'); sys.stdin.read()", "its stdout is not JSON: '123'"),
    ],
)
async def test_how_it_ends(run: Callable[..., Run], code: str, reason: str) -> None:
    one = run(code)
    assert (await one.end).startswith(reason)
    await one.process.reaped
    with pytest.raises(ProcessLookupError):
        os.kill(one.process.pid, 0)


async def test_a_closed_stdout_is_an_end(run: Callable[..., Run]) -> None:
    one = run("os.close(1); sys.stdin.read()")
    assert await one.end == "closed its stdout"
    assert one.process.ended_itself


async def test_the_last_document_counts_though_the_program_has_exited(run: Callable[..., Run]) -> None:
    one = run("os.write(1, b'{\"last\": 1}' * 5000)")
    assert (await one.end).startswith("exited")
    assert one.documents.qsize() == 5000


async def test_an_exit_is_noticed_while_a_child_holds_stdout(run: Callable[..., Run]) -> None:
    one = run("if os.fork(): os._exit(0)\ntime.sleep(600)")
    assert await one.end == "exited"
    await one.process.reaped


async def test_kill_ends_what_the_program_started(run: Callable[..., Run]) -> None:
    one = run("""
child = os.fork()
if child: print('{"child": %d}' % child, flush=True)
time.sleep(600)
""")
    child = (await one.documents.get())["child"]
    one.process.kill("enough")
    assert await one.end == "enough"
    assert not one.process.ended_itself
    while Path(f"/proc/{child}").exists() and ") Z " not in Path(f"/proc/{child}/stat").read_text():
        await asyncio.sleep(0.01)


async def test_the_end_comes_once(run: Callable[..., Run]) -> None:
    one = run(WAIT)
    one.process.kill("first")
    one.process.kill("second")
    one.process.send(b"{}")
    assert await one.end == "first"
    assert await one.process.reaped == -9


async def test_who_does_not_read_is_told_of_and_lives(run: Callable[..., Run]) -> None:
    one = run("time.sleep(600)", unread=400_000, stall=0.01)
    for _ in range(40):
        one.process.send(b"x" * 10_000)
        await asyncio.sleep(0)
    assert await one.room.get() == "crowded"
    assert await one.room.get() == "stalled"
    for _ in range(100):
        one.process.send(b"x" * 10_000)
    assert one.process.queued > 1_000_000
    assert one.room.empty()
    assert not one.end.done()


async def test_who_reads_slowly_is_crowded_and_not_stalled(run: Callable[..., Run], tmp_path: Path) -> None:
    """It reads when it is told to, and then all there is."""
    code = f"""
while not os.path.exists({str(tmp_path / "go")!r}): time.sleep(0.001)
sys.stdin.read()
"""
    one = run(code, unread=400_000, stall=600)
    for _ in range(40):
        one.process.send(b"x" * 10_000)
        await asyncio.sleep(0)
    assert await one.room.get() == "crowded"
    (tmp_path / "go").touch()
    assert await one.room.get() == "free"
    assert one.process.queued <= 50_000


async def test_who_reads_is_behind_until_half_is_read(run: Callable[..., Run], tmp_path: Path) -> None:
    code = f"""
while not os.path.exists({str(tmp_path / "go")!r}): os.read(0, 100); time.sleep(0.001)
sys.stdin.read()
"""
    one = run(code, behind=100_000)
    for _ in range(40):
        one.process.send(b"x" * 10_000)
        await asyncio.sleep(0)
    assert await one.behind.get()
    (tmp_path / "go").touch()
    assert not await one.behind.get()
    assert one.room.empty()


async def test_who_does_not_read_is_behind_for_a_moment_only(run: Callable[..., Run]) -> None:
    one = run("time.sleep(600)", behind=100_000)
    for _ in range(40):
        one.process.send(b"x" * 10_000)
        await asyncio.sleep(0)
    assert await one.behind.get()
    assert not await one.behind.get()
    assert one.process.queued > 100_000
    for _ in range(40):
        one.process.send(b"x" * 10_000)
        await asyncio.sleep(0)
    assert one.behind.empty()


async def test_who_closes_stdin_has_room(run: Callable[..., Run], tmp_path: Path) -> None:
    code = f"""
while not os.path.exists({str(tmp_path / "go")!r}): time.sleep(0.001)
os.close(0); time.sleep(600)
"""
    one = run(code, unread=400_000)
    for _ in range(40):
        one.process.send(b"x" * 10_000)
        await asyncio.sleep(0)
    assert await one.room.get() == "crowded"
    (tmp_path / "go").touch()
    assert await one.room.get() == "free", "who waits for room would wait for ever"


async def test_who_closes_stdin_lives_on(run: Callable[..., Run]) -> None:
    one = run("os.close(0); print('{}', flush=True); time.sleep(0.2); print('[]', flush=True); time.sleep(600)")
    assert await one.documents.get() == {}
    for _ in range(100):
        one.process.send(b"x" * 10_000)
    assert await one.documents.get() == []
    assert not one.end.done()


async def test_documents_that_are_larger_than_what_may_wait_are_read(run: Callable[..., Run]) -> None:
    one = run("while (data := os.read(0, 65536)) != b'': os.write(1, b'{\"read\": %d}' % len(data))", unread=1000)
    one.process.send(b"x" * 1_000_000)
    one.process.send(b"y" * 1_000_000)
    count = 0
    while count < 2_000_000:
        count += (await one.documents.get())["read"]
    assert not one.end.done()


async def test_a_document_that_is_too_large_is_dropped_and_the_next_one_taken(run: Callable[..., Run]) -> None:
    one = run(
        "os.write(1, b'{\"id\": 5, \"a\": \"' + b'x' * 3_000_000 + b'\"}[1]'); sys.stdin.read()", document=1_000_000
    )
    large = await one.documents.get()
    assert large.member("id") == 5
    assert large.reason.startswith("3000018 bytes, of at most 1000000 (ODDWIRE_MAX_DOCUMENT in the node's environment")
    assert await one.documents.get() == [1]
    assert not one.end.done()


async def test_a_document_that_does_not_end_is_refused_before_it_is_whole(run: Callable[..., Run]) -> None:
    one = run(
        """
os.write(1, b'{"a": "')
while True: os.write(1, b'x' * 65536)
""",
        document=1_000_000,
    )
    assert "its stdout is not JSON: a document does not end: so far 64" in await one.end


async def test_stderr_by_lines(run: Callable[..., Run]) -> None:
    one = run("os.write(2, b'one\\ntwo\\r\\n' + b'x' * 25 + b'\\n\\xff\\nlast')", line=10)
    await one.end
    assert one.lines == ["one", "two", "x" * 10, "x" * 10, "x" * 5, "\\xff", "last"]


async def test_a_flood_without_line_ends_stays_bounded(run: Callable[..., Run]) -> None:
    one = run("os.write(2, b'y' * 1_000_000); print('{}', flush=True); sys.stdin.read()", line=1000)
    await one.documents.get()
    one.process.kill("enough")
    assert max(map(len, one.lines)) == 1000
    assert sum(map(len, one.lines)) > 900_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        ("#!/no/such/interpreter -u\nimport os", "names '/no/such/interpreter', which is not there"),
        ("#! /no/such/interpreter\r\n", r"names '/no/such/interpreter\r', which is not there"),
        ("#!/etc\n", "Permission denied: its first line names '/etc'"),
        ("neither script nor program", "a script's first line should name what runs it, #!/usr/bin/env python3"),
        ("import os\n", "a script's first line should name what runs it, #!/usr/bin/env python3"),
        ("", "a script's first line should name what runs it, #!/usr/bin/env python3"),
    ],
)
async def test_what_cannot_be_started(tmp_path: Path, content: str | None, reason: str) -> None:
    path = tmp_path / "program"
    if content is not None:
        path.write_text(content)
        path.chmod(0o755)
    before = open_files()
    with pytest.raises(ExtensionError, match="could not be started: ") as caught:
        Run(path, PluginLimits(), {})
    assert reason in str(caught.value)
    assert open_files() == before


async def test_nothing_stays_open(run: Callable[..., Run]) -> None:
    before = open_files()
    one = run(WAIT)
    assert open_files() > before
    one.process.kill("enough")
    await one.process.reaped
    assert open_files() == before
