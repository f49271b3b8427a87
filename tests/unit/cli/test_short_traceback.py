import pytest

from oddwire import Application, Context, Extension, Message, Refuse, message
from oddwire.cli.short_traceback import short_traceback
from oddwire.errors import OddwireError, RemoteRpcError
from oddwire.transports import MemoryNetwork


@message(0x8E41)
class Ask(Message): ...


async def test_only_the_users_own_lines_are_shown() -> None:
    extension = Extension("refuses", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, ask: Ask) -> Ask:
        raise Refuse("not \x1b now", code=1400)

    network = MemoryNetwork()
    async with (
        Application(extension, transport=network.transport()) as server,
        Application(extension, transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        with pytest.raises(OddwireError) as error:
            await peer.request(Ask(), Ask)
    lines = short_traceback(error.value).split("\n")
    assert lines[0].endswith("in test_only_the_users_own_lines_are_shown")
    assert lines[1].strip() == "await peer.request(Ask(), Ask)"
    assert lines[2:] == [r"oddwire.errors.RemoteFailure: not \x1b now (code 1400)", f"so says {server.node_id}"]


def test_an_error_of_json_rpc_has_its_code_and_data() -> None:
    text = short_traceback(RemoteRpcError("stale", code=102, data={"token": "x"}))
    assert text == "oddwire.errors.RemoteRpcError: stale (code 102, data {'token': 'x'})"
