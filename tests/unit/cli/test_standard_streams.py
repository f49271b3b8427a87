import io
import json
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from oddwire.cli.events import Printer
from oddwire.cli.standard_streams import watched

CLAIM = """
import os, subprocess, sys
sys.stdout.write("printed before\\n")
from oddwire.cli.standard_streams import claim_stdout, ready_streams
ready_streams(stdout=False)
ours = claim_stdout()
assert claim_stdout() is ours
print("printed \\ud800 \\u6771")
os.write(1, b"written\\n")
subprocess.run(["echo", "a child"], check=True)
assert os.get_inheritable(ours.fileno()) is False
print("an event \\u6771", file=ours, flush=True)
"""


def run(source: str, redirect: str = "", **environment: str) -> tuple[str, str]:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -c "$1" {redirect}', sys.executable, source],
        capture_output=True,
        env={"PYTHONPATH": ":".join(sys.path), **environment},
        check=True,
    )
    return done.stdout.decode(), done.stderr.decode()


def test_stdout_is_ours_alone() -> None:
    out, err = run(CLAIM, PYTHONIOENCODING="utf-8")
    assert out == "an event 東\n"
    assert err == "printed before\nprinted \\ud800 東\nwritten\na child\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_nothing_is_lost_that_an_encoding_cannot_say(encoding: str) -> None:
    out, err = run(CLAIM, PYTHONIOENCODING=encoding)
    assert out == "an event \\u6771\n"
    assert err == "printed before\nprinted \\ud800 \\u6771\nwritten\na child\n"


def test_without_stderr_what_others_print_is_gone() -> None:
    assert run(CLAIM, "2>&-", PYTHONIOENCODING="utf-8") == ("an event 東\n", "")


def test_without_stdout_there_is_nothing_to_claim(tmp_path: Path) -> None:
    source = "from oddwire.cli.standard_streams import claim_stdout; assert claim_stdout() is None"
    assert run(source, ">&-") == ("", "")


def test_what_python_would_print_is_printable() -> None:
    err = io.StringIO()
    forged = "\x1b[2J\nERROR forged"

    class Odd:
        def __repr__(self) -> str:
            return "odd"

        def __del__(self) -> None:
            raise ValueError(forged)

    def fail() -> None:
        raise ValueError(forged)

    before = warnings.showwarning, threading.excepthook, sys.unraisablehook
    with warnings.catch_warnings(), watched(Printer(stderr=err)):
        warnings.simplefilter("always")
        warnings.warn(forged, stacklevel=1)
        thread = threading.Thread(target=fail, name="worker")
        thread.start()
        thread.join()
        Odd()
        quiet = threading.Thread(target=sys.exit)
        quiet.start()
        quiet.join()
    assert (warnings.showwarning, threading.excepthook, sys.unraisablehook) == before
    lines = err.getvalue().splitlines()
    assert "\x1b" not in err.getvalue()
    starts = [line for line in lines if not line.startswith("  ")]
    assert starts[0].startswith("warning: ")
    assert starts[0].endswith(r"UserWarning: \x1b[2J\nERROR forged")
    assert starts[1] == "ERROR: thread worker ended with an exception"
    assert starts[2].startswith("ERROR: ")
    assert len(starts) == 3
    assert lines.count("  ERROR forged") == 2


NOISY = """
import asyncio, logging, os, subprocess, threading, warnings
from oddwire import AppContext, Context, Extension, Message, message
print("at import")
extension = Extension("noisy", version="1.0")
@message(0x8D11)
class Ping(Message):
    text: str
@extension.on(Ping)
async def ping(context: Context, ping: Ping) -> None:
    print("printed", "\\ud800")
    os.write(1, b"written\\n")
    subprocess.run(["echo", "a child"])
    warnings.warn("warned of " + ping.text)
    threading.Thread(target=lambda: 1 / 0).start()
    logging.getLogger("library").warning("a library: %s", ping.text)
    context.logger.warning("we: %s", ping.text)
    raise ValueError(ping.text)
@extension.rpc("noisy-give")
async def give(context: AppContext, what: str = ""):
    print("giving")
    if what == "fail":
        raise ValueError("no such thing")
    return {"nan": float("nan"), "odd": "\\ud800\\x7f"} if what else None
"""


async def test_every_line_under_json_is_an_event(start, oddwire, tmp_path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    node = await start("run", "./noisy.py", "--listen", "127.0.0.1:0", "--json", stdin=subprocess.PIPE)
    uri = (await node.event("listening"))["uri"]
    text = "\x1b[2J\nERROR oddwire.node: forged \x9b\u202e"
    code, out, err = await oddwire("send", uri, "noisy.Ping", f"text={text}", "--extension", "noisy.py", "--json")
    assert code == 0
    assert {json.loads(line)["event"] for line in out.splitlines()} == {"connected", "sent", "disconnected"}
    assert err == "at import\n"
    assert (await node.event("error"))["message"].endswith(f"ValueError: {text}")
    await node.type("noisy-give\nall\nnoisy-give fail\nnosuch-thing x\n")
    assert await node.event("result") | {"time": 0} == {
        "event": "result",
        "time": 0,
        "method": "noisy-give",
        "value": None,
    }
    assert (await node.event("result"))["value"] == {"nan": "nan", "odd": "\ud800\x7f"}
    failed = await node.event("error")
    assert (failed["method"], failed["message"]) == ("noisy-give", "noisy-give: no such thing")
    code, out, err = await node.interrupt()
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert all(isinstance(event, dict) and event["event"] for event in events)
    for printed in ("at import", "printed \\ud800", "written", "a child", "giving"):
        assert f"{printed}\n" in err
    shown = r"\x1b[2J\nERROR oddwire.node: forged \x9b\u202e"
    for line in (f"UserWarning: warned of {shown}\n", f"WARNING library: a library: {shown}\n"):
        assert line in err
    assert f"WARNING oddwire.extension.noisy: we: {shown}\n" in err
    assert "\x1b" not in err
    assert "\nERROR oddwire.node" not in err
