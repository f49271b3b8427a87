"""How a plugin starts, does not start, and ends."""

from __future__ import annotations

import signal
import struct

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


async def test_an_idle_plugin_ends_with_its_shutdown_hooks_run_and_says_once_why(start, extreme, end):
    host = await start("quote", extreme, options={"quote-file": "saved"})
    host.connect(PEER)
    await host.custommsg(PEER, struct.pack(">HQI", 0x8C02, 1, 1))
    await host.result("quote-journal")
    end(host)
    assert await host.gone(WITHIN) == 0
    assert (host.folder / "saved").read_text() == "4\n"
    told = [line for _, line in host.log if "stopping" in line]
    assert len(told) == 1 or (told and end is ENDS["all-at-once"])


async def test_handlers_are_cancelled_and_shutdown_hooks_run(start, end):
    host = await start("rough")
    host.connect(PEER)
    await host.custommsg(PEER, trouble("hang"))
    await host.result("rough-told")
    end(host)
    await host.gone(WITHIN)
    assert (host.folder / "rough-ended").exists()


async def test_a_handler_that_does_not_give_up_ends_with_the_process(start):
    host = await start("rough")
    host.connect(PEER)
    await host.custommsg(PEER, trouble("hang-on"))
    await host.result("rough-told")
    host.shut_down()
    await host.gone(WITHIN)


@pytest.mark.parametrize("way", ["shutdown", "eof", "sigterm"])
async def test_a_loop_that_is_blocked_ends_with_the_process(start, way):
    host = await start("rough")
    host.connect(PEER)
    await host.custommsg(PEER, trouble("block"))
    await host.logged("blocking the loop")
    ENDS[way](host)
    await host.gone(WITHIN)


async def test_sigterm_ignored_by_the_extension_leaves_the_other_ways(start):
    host = await start("rough")
    host.connect(PEER)
    await host.custommsg(PEER, trouble("ignore-sigterm"))
    await host.result("rough-told")
    host.shut_down()
    assert await host.gone(WITHIN) == 0


@pytest.mark.parametrize("way", ["eof", "sigterm", "sigint"])
async def test_a_plugin_that_was_asked_nothing_yet_ends(spawn, way):
    host = await spawn("quote")
    ENDS[way](host)
    await host.gone(WITHIN)
    assert not (host.folder / "quote-ended").exists()


async def test_a_plugin_that_waits_for_init_ends(spawn, extreme, end):
    host = await spawn("quote", extreme)
    await host.load()
    end(host)
    await host.gone(WITHIN)
    assert not (host.folder / "quote-ended").exists()


async def test_a_child_that_outlives_the_plugin_holds_none_of_its_pipes(start):
    host = await start("rough")
    host.connect(PEER)
    await host.custommsg(PEER, trouble("leave-a-child"))
    await host.logged("left a child")
    host.shut_down()
    await host.gone(WITHIN)
    await host.end_of_output(WITHIN)


# Not starting ----------------------------------------------------------------------------------------


async def test_an_extension_that_cannot_be_loaded_says_so(spawn, extreme):
    host = await spawn("unwilling", extreme, UNWILLING="to load")
    manifest = await host.load()
    for text in ("0x8d11", "unwilling (__main__.AskAgain)"):
        assert text in manifest["disable"]
    await host.gone(WITHIN)


async def test_an_option_that_will_not_do_disables_the_plugin(spawn, extreme):
    host = await spawn("unwilling", extreme)
    await host.load()
    answer = await host.init({"unwilling-word": "now"})
    assert answer == {"disable": answer["disable"]}
    for text in ("unwilling-word", "should be the magic word, not 'now'"):
        assert text in answer["disable"]
    await host.gone(WITHIN)


async def test_a_startup_hook_that_raises_disables_the_plugin(spawn, extreme):
    host = await spawn("unwilling", extreme)
    await host.load()
    answer = await host.init()
    assert answer == {"disable": answer["disable"]}
    assert "the shop is shut" in answer["disable"]
    await host.gone(WITHIN)


async def test_a_host_whose_rpc_is_not_there_disables_the_plugin(spawn, extreme):
    host = await spawn("quote", extreme)
    await host.load()
    (host.folder / "lightning-rpc").unlink()
    answer = await host.init()
    assert answer == {"disable": answer["disable"]}
    assert "lightning-rpc" in answer["disable"]
    await host.gone(WITHIN)


async def test_startup_sees_the_options_and_the_host(start, extreme):
    host = await start("quote", extreme, options={"quote-asset": "USD", "quote-closed": True, "quote-also": ["chf"]})
    told = await host.result("quote-journal")
    assert told["journal"] == [["startup", (await host.result("quote-host", ["getinfo"]))["id"], "usd"]]
    assert told["options"] == {
        "quote-asset": "usd",
        "quote-millisats": 1000,
        "quote-closed": True,
        "quote-also": ["chf"],
        "quote-file": "quote-ended",
    }
