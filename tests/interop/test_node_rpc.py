"""The node as a process of its own, driven by pyln-client's `LightningRpc` and by ``oddwire call``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyln.client import LightningRpc, RpcError
from tests.support.waiting import until_blocking

LIMIT = 30  # seconds; reached only by what hangs
ODDWIRE = [sys.executable, "-m", "oddwire.cli.main"]


class NodeProcess:
    """``oddwire node`` in a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        command = [*ODDWIRE, "node", "--lightning-dir", str(folder), "--addr", "127.0.0.1:0", "--json", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.ready: dict[str, Any] = json.loads(line)
        assert self.ready["event"] == "ready"
        self.uri: str = self.ready["uri"]
        self.id, _, self.address = self.uri.partition("@")
        self.rpc = LightningRpc(self.ready["rpc_file"])

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*ODDWIRE, "call", "--lightning-dir", str(self.folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)

    def end(self) -> tuple[int, str]:
        """SIGTERM; give the exit code and what was logged."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, log

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=LIMIT)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    with contextlib.ExitStack() as stack:

        def start(name: str, *options: str) -> NodeProcess:
            node = NodeProcess(tmp_path / name, *options)
            stack.callback(node.kill)
            return node

        yield start


@pytest.fixture
def pair(start) -> tuple[NodeProcess, NodeProcess]:
    one, two = start("one", "--alias", "first"), start("two")
    one.rpc.connect(two.id, *two.address.split(":"))
    return one, two


def refusal(call: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[int, str]:
    with pytest.raises(RpcError) as caught:
        call(*arguments, **named)
    return caught.value.error["code"], caught.value.error["message"]


class TestLightningRpc:
    """Every method that the node has, by way of the client that plugins use."""

    def test_getinfo(self, pair) -> None:
        one, _ = pair
        info = one.rpc.getinfo()
        assert info["id"] == one.id
        assert info["alias"] == "first"
        assert info["color"] == one.id[:6]
        assert info["num_peers"] == 1
        assert info["network"] == "bitcoin"
        assert info["lightning-dir"] == str(one.folder / "bitcoin")
        host, port = one.address.split(":")
        assert info["binding"] == [{"type": "ipv4", "address": host, "port": int(port)}]
        assert info["version"].startswith("v26.")
        assert info["our_features"]["init"] == "20000000a202"

    def test_connect_listpeers_ping_disconnect(self, pair) -> None:
        one, two = pair
        host, port = two.address.split(":")
        connected = one.rpc.connect(two.id, host, int(port))  # again: that changes nothing
        assert connected == {
            "id": two.id,
            "features": "20000000a202",
            "direction": "out",
            "address": {"type": "ipv4", "address": host, "port": int(port)},
        }
        [peer] = one.rpc.listpeers()["peers"]
        assert peer == {
            "id": two.id,
            "connected": True,
            "num_channels": 0,
            "netaddr": [two.address],
            "features": "20000000a202",
        }
        until_blocking(lambda: two.rpc.listpeers(one.id)["peers"])
        assert one.rpc.ping(two.id) == {"totlen": 132}
        assert one.rpc.ping(two.id, 100, 7) == {"totlen": 11}
        assert one.rpc.disconnect(two.id) == {}
        assert one.rpc.listpeers() == {"peers": []}
        assert refusal(one.rpc.disconnect, two.id) == (-32602, f"Unknown peer '{two.id}'")
        until_blocking(lambda: not two.rpc.listpeers()["peers"])
        assert one.rpc.connect(two.id)["direction"] == "out"  # where it was last

    def test_sendcustommsg(self, pair) -> None:
        one, two = pair
        sent = {"status": "Message sent to connectd for delivery"}
        assert one.rpc.sendcustommsg(two.id, "8001aa") == sent
        assert one.rpc.check("sendcustommsg", node_id=two.id, msg="8001aa") == {"command_to_check": "sendcustommsg"}
        assert refusal(one.rpc.sendcustommsg, two.id, "0010")[0] == -32600
        with one.rpc.reply_filter({"nothing": True}):
            assert one.rpc.sendcustommsg(two.id, "8001aa") == {}

    def test_unknown_even_types_end_the_connection(self, pair) -> None:
        one, two = pair
        one.rpc.sendcustommsg(two.id, "8002aa")
        until_blocking(lambda: not one.rpc.listpeers()["peers"])
        told = [line["log"] for line in two.rpc.getlog("unusual")["log"]]
        assert told == ["Invalid unknown even msg 8002aa"]
        heard = [line["log"] for line in one.rpc.getlog("unusual")["log"]]
        assert any("Invalid unknown even msg 8002aa" in line for line in heard)

    def test_datastore(self, pair) -> None:
        rpc = pair[0].rpc
        assert rpc.datastore(["a", "b"], "text") == {
            "key": ["a", "b"],
            "generation": 0,
            "hex": "74657874",
            "string": "text",
        }
        assert rpc.datastore(["a", "b"], hex="ff", mode="must-append")["hex"] == "74657874ff"
        assert rpc.listdatastore()["datastore"] == [{"key": ["a"]}]
        [entry] = rpc.listdatastore("a")["datastore"]
        assert entry == {"key": ["a", "b"], "generation": 1, "hex": "74657874ff"}
        assert refusal(rpc.deldatastore, "a") == (1200, "Key does not exist")
        assert rpc.deldatastore(["a", "b"], generation=1)["generation"] == 1
        assert rpc.listdatastore() == {"datastore": []}

    def test_signing(self, pair) -> None:
        one, two = pair
        signed = one.rpc.call("signmessage", {"message": "hello"})
        checked = two.rpc.call("checkmessage", {"message": "hello", "zbase": signed["zbase"], "pubkey": one.id})
        assert checked == {"pubkey": one.id, "verified": True}
        forged = two.rpc.call("checkmessage", {"message": "other", "zbase": signed["zbase"], "pubkey": one.id})
        assert forged["verified"] is False
        secret = one.rpc.call("makesecret", {"string": "mine"})["secret"]
        assert secret == one.rpc.call("makesecret", {"hex": b"mine".hex()})["secret"]
        assert len(bytes.fromhex(secret)) == 32

    def test_help_and_check(self, pair) -> None:
        rpc = pair[0].rpc
        usages = [entry["command"] for entry in rpc.help()["help"]]
        assert usages == sorted(usages)
        assert "sendcustommsg node_id msg" in usages
        assert "connect id [host] [port]" in usages
        assert rpc.help("ping")["help"] == [{"command": "ping id [len] [pongbytes]"}]
        assert refusal(rpc.help, "nothing") == (-32601, "Unknown command nothing")
        assert refusal(rpc.check, "nothing") == (-32601, "Unknown command 'nothing'")
        for usage in usages:
            assert "command" in rpc.help(usage.split()[0])["help"][0]

    def test_listconfigs_and_plugins(self, pair) -> None:
        rpc = pair[0].rpc
        assert rpc.listconfigs()["configs"]["alias"] == {"value_str": "first", "source": "cmdline"}
        assert rpc.listconfigs("network") == {"configs": {"network": {"value_str": "bitcoin", "source": "cmdline"}}}
        assert refusal(rpc.listconfigs, "nothing")[0] == -32602
        assert rpc.plugin_list() == {"command": "list", "plugins": []}
        assert refusal(rpc.plugin_stop, "nothing")[0] == -32602

    def test_notifications(self, pair) -> None:
        assert pair[0].rpc.call("notifications", {"enable": True}) == {}
        assert refusal(pair[0].rpc.call, "notifications", {"enable": 3})[0] == -32602

    def test_stop_answers_when_all_is_over(self, pair, start) -> None:
        one, _ = pair
        assert one.rpc.stop() == {"result": "Shutdown complete"}
        assert not Path(one.ready["rpc_file"]).exists()
        again = start("one")  # the folder is free
        assert one.process.wait(LIMIT) == 0
        assert again.id == one.id


class TestCall:
    """``oddwire call`` in lightning-cli's manner."""

    def test_results_and_refusals(self, pair) -> None:
        one, two = pair
        done = one.call("sendcustommsg", "-k", f"node_id={two.id}", "msg=77770012")
        assert (done.returncode, json.loads(done.stdout)) == (0, {"status": "Message sent to connectd for delivery"})
        refused = one.call("sendcustommsg", two.id, "0010")
        assert refused.returncode == 1
        assert json.loads(refused.stdout)["code"] == -32600

    def test_data_of_an_error(self, pair) -> None:
        one, _ = pair
        other = LightningRpc(one.ready["rpc_file"]).call("signmessage", {"message": "x"})
        zbase = other["zbase"][:20] + ("y" if other["zbase"][20] != "y" else "b") + other["zbase"][21:]
        answer = one.call("checkmessage", "x", zbase)
        if answer.returncode:  # a key is recovered from most signatures, a stranger's
            assert json.loads(answer.stdout)["code"] == 1301
            assert "claimed_key" in json.loads(answer.stdout)["data"]
        else:
            assert json.loads(answer.stdout) == {"verified": False}

    def test_no_node(self, tmp_path: Path) -> None:
        command = [*ODDWIRE, "call", "--lightning-dir", str(tmp_path), "getinfo"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 1
        assert f"no node answers at {tmp_path}/bitcoin/lightning-rpc: No such file" in done.stderr


class TestDaemon:
    def test_sigterm_ends_it_cleanly(self, start) -> None:
        node = start("node")
        code, log = node.end()
        assert code == 0
        assert "SIGTERM: shutting down" in log
        assert not Path(node.ready["rpc_file"]).exists()

    def test_one_node_a_folder(self, start) -> None:
        node = start("node")
        command = [*ODDWIRE, "node", "--lightning-dir", str(node.folder)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        assert second.returncode == 1
        assert f"is in use by process {node.process.pid}" in second.stderr
        assert node.rpc.getinfo()["id"] == node.id

    def test_what_was_acknowledged_survives_kill_9(self, start) -> None:
        other = start("other")
        known = None
        for run in range(3):
            node = start("node")
            assert known in (None, node.id)
            known = node.id
            entries = node.rpc.listdatastore("run")["datastore"] if run else []
            assert [entry["key"] for entry in entries] == [["run", str(number)] for number in range(run)]
            if run:
                assert node.rpc.connect(other.id)["id"] == other.id  # by the address it remembers
            else:
                node.rpc.connect(other.id, *other.address.split(":"))
            node.rpc.datastore(["run", str(run)], hashlib.sha256(bytes([run])).hexdigest())
            node.kill()

    def test_a_folder_whose_path_is_too_long_for_a_socket(self, start) -> None:
        node = start("x" * 120)
        assert node.rpc.getinfo()["id"] == node.id
        assert json.loads(node.call("getinfo").stdout)["id"] == node.id

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (["--network", "mainnet"], "network should be one of bitcoin, testnet, testnet4, signet, regtest"),
            (["--addr", "nowhere:port"], "port should be 0 to 65535"),
            (["--connect", "nobody"], "URI should be node_id@host:port"),
            (["--log-level", "loud"], "--log-level 'loud' should be"),
            (["--plugin", "/no/such/plugin"], "/no/such/plugin"),
            (["--no-such-option=5"], "no-such-option"),
            (["stray"], "'stray': an option of a plugin should look like --name=value"),
        ],
    )
    def test_what_makes_no_sense(self, tmp_path: Path, options: list[str], text: str) -> None:
        command = [*ODDWIRE, "node", "--lightning-dir", str(tmp_path), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 2
        assert text in done.stderr

    def test_a_key_that_others_can_read_is_refused(self, start, tmp_path: Path) -> None:
        node = start("node")
        node.end()
        (node.folder / "bitcoin" / "hsm_secret").chmod(0o644)
        command = [*ODDWIRE, "node", "--lightning-dir", str(node.folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 2
        assert "chmod 600" in done.stderr

    def test_the_log_file(self, start, tmp_path: Path) -> None:
        node = start("node", "--log-file", str(tmp_path / "log"), "--log-level", "debug")
        _, stderr = node.end()
        assert stderr == ""
        lines = (tmp_path / "log").read_text().splitlines()
        assert any(f"Server started with public key {node.id}" in line for line in lines)
        assert all(line.split()[1] in ("DEBUG", "INFO", "UNUSUAL") for line in lines)

    def test_nobody_else_may_use_its_files(self, start) -> None:
        node = start("node")
        node.rpc.datastore("key", "value")
        for path in (node.folder / "bitcoin").iterdir():
            assert not path.stat().st_mode & 0o077, path
        assert (node.folder / "bitcoin").stat().st_mode & 0o777 == 0o700
