"""How a plugin starts, does not start, and ends."""

from __future__ import annotations

import signal
import struct
from pathlib import Path

import msgpack
import pytest

PEER = "03284bb117cd2af9e6f4268e433f199bab2a29b1b863127bbd351706b5d0ddd625"
WITHIN = 10  # seconds, to be gone in: it takes 5 at most, and machines may be slow

ENDS = {
    "shutdown": lambda host: host.shut_down(),
    "eof": lambda host: host.hang_up(),
    "sigterm": lambda host: host.process.terminate(),
    "sigint": lambda host: host.process.send_signal(signal.SIGINT),
    "all-at-once": lambda host: [ENDS[name](host) for name in ("sigterm", "shutdown", "eof", "sigint", "sigterm")],
}


def trouble(how: str) -> bytes:
    return b"\x8d\x01" + msgpack.packb({"how": how})


@pytest.fixture(params=ENDS.values(), ids=ENDS.keys())
def end(request):
    return request.param


async def test_an_idle_plugin_ends_with_its_shutdown_hooks_run(start, habits, end):
    host = await start("quote", habits, options={"quote-file": "saved"})
    host.connect(PEER)
    await host.custommsg(PEER, struct.pack(">HQI", 0x8C02, 1, 1))
    await host.result("quote-journal")
    end(host)
    assert await host.gone(WITHIN) == 0
    assert (host.folder / "saved").read_text() == "4\n"


async def test_handlers_are_cancelled_and_shutdown_hooks_run(start, end):
    host = await start("rough")
    host.connect(PEER)
    await host.custommsg(PEER, trouble("hang"))
    await host.result("rough-told")
    end(host)
    await host.gone(WITHIN)
    assert (host.folder / "rough-ended").exists()


async def test_a_handler_that_does_not_give_up_ends_with_the_process(start, end):
    host = await start("rough")
    host.connect(PEER)
    await host.custommsg(PEER, trouble("hang-on"))
    await host.result("rough-told")
    end(host)
    await host.gone(WITHIN)


async def test_a_loop_that_is_blocked_ends_with_the_process(start, end):
    host = await start("rough")
    host.connect(PEER)
    await host.custommsg(PEER, trouble("block"))
    await host.logged("blocking the loop")
    end(host)
    await host.gone(WITHIN)


async def test_sigterm_ignored_by_the_extension_leaves_the_other_ways(start):
    host = await start("rough")
    host.connect(PEER)
    await host.custommsg(PEER, trouble("ignore-sigterm"))
    await host.result("rough-told")
    host.shut_down()
    assert await host.gone(WITHIN) == 0


@pytest.mark.parametrize("state", ["before getmanifest", "before init"])
async def test_a_plugin_that_was_never_started_ends(spawn, habits, end, state):
    host = await spawn("quote", habits)
    if state == "before init":
        await host.load()
    elif end is ENDS["shutdown"] or end is ENDS["all-at-once"]:
        pytest.skip("lightningd notifies nobody whose manifest it has not read")
    end(host)
    await host.gone(WITHIN)
    assert not (host.folder / "quote-ended").exists()


async def test_what_a_child_process_inherits_keeps_nobody_waiting(start):
    """The pipes are the plugin's alone: a child that outlives it holds neither."""
    host = await start("rough")
    host.connect(PEER)
    pid = (await host.result("rough-told"))["pid"]
    assert pid == host.process.pid
    links = {str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in (0, 1)}
    assert "/dev/null" in links


# Not starting ----------------------------------------------------------------------------------------


async def test_an_extension_that_cannot_be_loaded_says_so(spawn, habits):
    host = await spawn("unwilling", habits, UNWILLING="to load")
    manifest = await host.load()
    for text in ("0x8d11", "unwilling (__main__.AskAgain)"):
        assert text in manifest["disable"]
    await host.gone(WITHIN)


async def test_an_option_that_will_not_do_disables_the_plugin(spawn, habits):
    host = await spawn("unwilling", habits)
    await host.load()
    answer = await host.init({"unwilling-word": "now"})
    assert answer == {"disable": answer["disable"]}
    for text in ("unwilling-word", "should be the magic word, not 'now'"):
        assert text in answer["disable"]
    await host.gone(WITHIN)


async def test_a_startup_hook_that_raises_disables_the_plugin(spawn, habits):
    host = await spawn("unwilling", habits)
    await host.load()
    answer = await host.init()
    assert answer == {"disable": answer["disable"]}
    assert "the shop is shut" in answer["disable"]
    await host.gone(WITHIN)


async def test_a_host_whose_rpc_is_not_there_disables_the_plugin(spawn, habits):
    host = await spawn("quote", habits)
    await host.load()
    (host.folder / "lightning-rpc").unlink()
    answer = await host.init()
    assert answer == {"disable": answer["disable"]}
    assert "lightning-rpc" in answer["disable"]
    await host.gone(WITHIN)


async def test_startup_sees_the_options_and_the_host(start, habits):
    host = await start("quote", habits, options={"quote-asset": "USD", "quote-closed": True, "quote-also": ["chf"]})
    told = await host.result("quote-journal")
    assert told["journal"] == [["startup", (await host.result("quote-host", ["getinfo"]))["id"], "usd"]]
    assert told["options"] == {
        "quote-asset": "usd",
        "quote-millisats": 1000,
        "quote-closed": True,
        "quote-also": ["chf"],
        "quote-file": "quote-ended",
    }
