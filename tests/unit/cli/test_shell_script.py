import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.shell_script import read_script, run_script


async def test_values_of_expressions_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {}
    script = """
import asyncio

async def double(number):
    await asyncio.sleep(0)
    return 2 * number

await double(21)
x = await double(4)
for _ in range(2):
    x += await double(1)
x
None
"""
    assert await run_script(script, scope) == 0
    assert capsys.readouterr().out == "42\n12\n"
    assert scope["x"] == 12


async def test_the_first_error_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert await run_script("print(1)\nraise ValueError('\x1b no')\nprint(2)", {}) == 1
    out, err = capsys.readouterr()
    assert out == "1\n"
    assert err == ("  File \"<stdin>\", line 2, in <module>\n    raise ValueError('\\x1b no')\nValueError: \\x1b no\n")


async def test_a_task_that_the_script_cancelled_is_an_error_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    script = "import asyncio\ntask = asyncio.ensure_future(asyncio.sleep(9))\nx = task.cancel()\nawait task\nprint(1)"
    assert await run_script(script, {}) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert 'File "<stdin>", line 4' in err
    assert "CancelledError" in err


async def test_a_command_that_ends_cancels_the_script() -> None:
    task = asyncio.create_task(run_script("import asyncio\nawait asyncio.sleep(9)", {}))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("end", "code"), [("exit(3)", 3), ("exit()", 0), ("exit('enough')", 1)])
async def test_exit_ends_it_with_a_code(capsys: pytest.CaptureFixture[str], end: str, code: int) -> None:
    assert await run_script(f"{end}\nprint('never')", {}) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", "enough\n" if code == 1 else "")


@pytest.mark.parametrize("script", ["print(1)\nx = (", "print(1)\nreturn 5", "await"])
async def test_what_does_not_compile_does_not_run(capsys: pytest.CaptureFixture[str], script: str) -> None:
    with pytest.raises(CommandFailure, match=r"does not compile: .* in line") as failure:
        await run_script(script, {})
    assert (failure.value.code, capsys.readouterr().out) == (USAGE, "")


async def test_a_script_is_read_from_pipes_and_files(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x = '\xc3\xa9'\n")
    os.close(writing)
    assert await read_script(reading) == "x = 'é'\n"
    os.close(reading)
    path = tmp_path / "script"
    path.write_bytes(b"x" * 100_000)
    with path.open("rb") as file:
        assert len(await read_script(file.fileno())) == 100_000
    path.write_bytes("\N{BYTE ORDER MARK}x = 1\r\n".encode())
    with path.open("rb") as file:
        assert await read_script(file.fileno()) == "x = 1\r\n"
    path.write_bytes(b"abc\xff")
    with path.open("rb") as file, pytest.raises(CommandFailure, match="should be UTF-8: byte 3"):
        await read_script(file.fileno())


async def test_it_can_be_cancelled_while_it_waits_for_its_script() -> None:
    reading, writing = os.pipe()
    waiting = asyncio.ensure_future(read_script(reading))
    os.write(writing, b"x = 1")
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not asyncio.get_running_loop().remove_reader(reading)
    os.close(reading)
    os.close(writing)
