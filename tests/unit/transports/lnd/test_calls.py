from oddwire.transports.lnd.calls import CALLS, CONNECTING, NEEDED


def test_paths_and_permissions():
    call = CALLS["SendCustomMessage"]
    assert call.path == "/lnrpc.Lightning/SendCustomMessage"
    assert call.uri == "uri:/lnrpc.Lightning/SendCustomMessage"
    assert (call.entity, call.action) == ("offchain", "write")
    assert CALLS["GetState"].path == "/lnrpc.State/GetState"


def test_only_lnds_state_needs_no_permission():
    assert {name for name, call in CALLS.items() if not call.entity} == {"GetState", "SubscribeState"}


def test_streams_are_known_by_their_names():
    assert {name for name, call in CALLS.items() if call.stream} == {name for name in CALLS if name[:4] == "Subs"}


def test_the_calls_we_make_are_among_them():
    assert set(NEEDED) | set(CONNECTING) <= CALLS.keys()
    assert all(CALLS[name].name == name for name in CALLS)
