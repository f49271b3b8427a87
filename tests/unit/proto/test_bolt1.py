"""oddwire.proto.bolt1: one connection's rules, told what comes and what time it is."""

import pytest

from oddwire.errors import LocalProtocolError, MalformedMessage, OutOfOrder, Truncated, UnknownRequiredRecord
from oddwire.proto.bolt1 import (
    CHAINS,
    INTERNAL,
    Bolt1,
    Init,
    Notice,
    Ping,
    Pong,
    encode_error,
    encode_warning,
    printable,
)
from oddwire.proto.features import ASSUMED_FEATURES, feature_bits, feature_bytes
from oddwire.proto.primitives import build_tlv_stream
from oddwire.proto.type_numbers import BOLT_TYPES, REFUSED

REGTEST, BITCOIN = CHAINS["regtest"], CHAINS["bitcoin"]
INIT = Init().encode()


def message(type_id, body=b""):
    return type_id.to_bytes(2, "big") + body


def init(global_features=b"", features=b"", records=()):
    """An init as a peer may write it, with both of the old bitmaps and any records."""
    maps = b"".join(len(map_).to_bytes(2, "big") + map_ for map_ in (global_features, features))
    return message(16, maps + build_tlv_stream(records))


def started(*, now=0.0, **kwargs):
    """Rules after the peer's init."""
    rules = Bolt1(now=now, **kwargs)
    assert rules.receive(INIT, now) == Init()
    return rules


def answer(rules, payload, now=0.0):
    """What is sent after ``payload``; the connection stays."""
    assert rules.receive(payload, now) is None
    assert rules.closed is None
    return rules.outgoing()


def refusal(rules, payload, now=0.0):
    """Why ``payload`` closes the connection; the warning that goes out says the same."""
    assert rules.receive(payload, now) is None
    assert rules.closed
    (warning,) = rules.outgoing()
    assert Notice.decode(warning) == Notice("warning", rules.closed)
    return rules.closed


# Our init


def test_our_init_has_one_map_with_what_all_nodes_have_and_says_our_networks():
    assert Init.decode(Bolt1(now=0.0).start()) == Init(features=feature_bytes({1, 9, 13, 15, 45}))
    ours = Bolt1(features={513, 2023}, networks=[REGTEST, BITCOIN], now=0.0).start()
    assert ours[2:4] == b"\0\0", "the global map stays empty"
    features = feature_bytes({*ASSUMED_FEATURES, 513, 2023})
    assert Init.decode(ours) == Init(features=features, networks=(REGTEST, BITCOIN))


def test_never_both_bits_of_a_pair_are_set():
    """BOLT 9, Requirements. Required wins."""
    ours = Init.decode(Bolt1(features={8, 512, 513, 515}, now=0.0).start())
    assert feature_bits(ours.features) == {1, 8, 13, 15, 45, 512, 515}


def test_genesis_hashes_are_in_wire_order():
    assert BITCOIN.hex().startswith("6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d61900000000")
    assert len(set(CHAINS.values())) == 5
    assert all(len(chain) == 32 for chain in CHAINS.values())


@pytest.mark.parametrize(
    ("address", "wire"),
    [("8.8.4.4:9735", "01 08080404 2607"), ("[2606:4700::1]:1", "02 26064700000000000000000000000001 0001")],
)
def test_a_dialer_is_told_where_we_see_it(address, wire):
    ours = Bolt1(now=0.0).start(address)
    assert ours.endswith(bytes.fromhex(wire))
    assert Init.decode(ours).remote_addr == address


@pytest.mark.parametrize("address", ["127.0.0.1:1", "10.1.2.3:4", "192.168.0.1:5", "[::1]:6", "[fe80::1%eth0]:7"])
def test_a_private_address_is_not_told(address):
    assert Init.decode(Bolt1(now=0.0).start(address)).remote_addr is None


# The peer's init


def test_both_feature_maps_are_one():
    rules = Bolt1(now=0.0)
    event = rules.receive(init(b"\x02\x00", feature_bytes({13, 515})), 0.0)
    assert event is rules.init
    assert feature_bits(event.features) == {9, 13, 515}


def test_unknown_odd_bits_and_records_are_ignored():
    event = Bolt1(now=0.0).receive(init(b"", feature_bytes({3, 999}), [(5, b"x"), (99, b"")]), 0.0)
    assert event == Init(features=feature_bytes({3, 999}))


def test_what_core_lightning_requires_is_accepted():
    assert Bolt1(now=0.0).receive(init(b"", feature_bytes({0, 8, 12, 14, 44})), 0.0)


def test_an_unknown_even_bit_closes_unless_it_is_one_of_ours():
    assert "unknown feature bits 512" in refusal(Bolt1(now=0.0), init(b"", feature_bytes({512})))
    assert "unknown feature bits 32 " in refusal(Bolt1(now=0.0), init(feature_bytes({32})))
    assert Bolt1(features={513}, now=0.0).receive(init(b"", feature_bytes({512})), 0.0)


def test_a_feature_without_its_dependency_closes():
    text = refusal(Bolt1(now=0.0), init(b"", feature_bytes({17})))
    assert "basic_mpp without payment_secret" in text
    assert Bolt1(now=0.0).receive(init(feature_bytes({14}), feature_bytes({17})), 0.0), "whichever map it is in"


def test_no_network_in_common_closes_and_names_both():
    rules = Bolt1(networks=[REGTEST], now=0.0)
    text = refusal(rules, init(records=[(1, BITCOIN + b"\xab" * 32)]))
    assert text == (
        f"no network in common: the peer is on bitcoin, {'ab' * 32}, this node is on regtest; "
        "both should be on one, with --network bitcoin here"
    )


def test_a_peer_on_no_network_has_none_in_common():
    text = refusal(Bolt1(networks=[REGTEST], now=0.0), init(records=[(1, b"")]))
    assert text == "no network in common: the peer is on none, this node is on regtest"


def test_our_init_lists_no_networks_where_there_are_none():
    assert Init.decode(Bolt1(now=0.0).start()).networks is None


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([REGTEST], [(1, REGTEST)]),
        ([REGTEST], [(1, BITCOIN + REGTEST)]),
        ([REGTEST], []),
        ([], [(1, BITCOIN)]),
        ([], [(1, b"")]),
    ],
    ids=["the same", "one of several", "the peer does not say", "we do not say", "neither is on any"],
)
def test_networks_that_agree(ours, theirs):
    assert Bolt1(networks=ours, now=0.0).receive(init(records=theirs), 0.0)


@pytest.mark.parametrize(
    ("records", "seen"),
    [
        ([(3, bytes.fromhex("01 01020304 0050"))], "1.2.3.4:80"),
        ([(3, bytes.fromhex("02 20010db8000000000000000000000001 2607"))], "[2001:db8::1]:9735"),
        ([(3, b"")], None),
        ([(3, b"\x01\x01\x02\x03\x04")], None),
        ([(3, b"\x05\x04host\x00\x50")], None),
        ([], None),
    ],
)
def test_where_the_peer_sees_us(records, seen):
    assert Bolt1(now=0.0).receive(init(records=records), 0.0).remote_addr == seen


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (message(16), Truncated),
        (message(16, b"\0"), Truncated),
        (message(16, b"\0\0"), Truncated),
        (message(16, b"\0\x02\xff\0\0"), Truncated),
        (message(16, b"\0\0\0\x02\xff"), Truncated),
        (init() + b"\x01", Truncated),
        (init() + b"\x01\x20" + bytes(31), Truncated),
        (init(records=[(1, bytes(33))]), MalformedMessage),
        (init(records=[(0, b"")]), UnknownRequiredRecord),
        (init(records=[(2, b"")]), UnknownRequiredRecord),
        (init() + b"\x03\x00\x01\x00", OutOfOrder),
        (init() + b"\x03\x00\x03\x00", OutOfOrder),
    ],
)
def test_a_malformed_init_closes(payload, error):
    with pytest.raises(error):
        Init.decode(payload)
    rules = Bolt1(now=0.0)
    refusal(rules, payload)
    assert rules.init is None


def test_malformed_networks_are_named():
    with pytest.raises(MalformedMessage) as caught:
        Init.decode(init(records=[(1, bytes(33))]))
    assert (caught.value.type_id, caught.value.path) == (16, "$.networks")


def test_a_second_init_closes():
    assert "init a second time" in refusal(started(), INIT)


# Before init


@pytest.mark.parametrize("type_id", [3, 7, 9, 19, 257, 0x8C01, 65535])
def test_odd_messages_before_init_are_dropped(type_id):
    rules = Bolt1(now=0.0)
    assert answer(rules, message(type_id, b"whatever")) == []
    assert rules.receive(INIT, 0.0) == Init()


@pytest.mark.parametrize("type_id", [0, 18, 32, 256, 0x8C02, 65534])
def test_even_messages_before_init_close(type_id):
    assert f"type {type_id} before init" in refusal(Bolt1(now=0.0), message(type_id, bytes(66)))


@pytest.mark.parametrize("kind", ["warning", "error"])
def test_a_peer_may_say_why_it_hangs_up_before_its_init(kind):
    rules = Bolt1(now=0.0)
    assert rules.receive(Notice(kind, "wrong chain").encode(), 0.0) == Notice(kind, "wrong chain")
    assert rules.closed is None


def test_no_init_in_time_closes():
    rules = Bolt1(now=100.0, init_timeout=30.0)
    rules.tick(129.9, received=True)
    assert rules.closed is None
    rules.tick(130.0, received=True)
    assert rules.closed == "no init within 30 s"
    assert rules.outgoing() == [encode_warning("no init within 30 s")]


# Ping and pong


@pytest.mark.parametrize("wanted", [0, 1, 1000, 65531])
def test_a_ping_is_answered_with_as_many_zeros_as_it_asks_for(wanted):
    (pong,) = answer(started(), Ping(wanted, padding=3).encode())
    assert pong == message(19, wanted.to_bytes(2, "big") + bytes(wanted))


@pytest.mark.parametrize("wanted", [65532, 65533, 65535])
def test_a_ping_that_asks_for_too_much_is_padding(wanted):
    assert answer(started(), Ping(wanted, padding=100).encode()) == []


def test_what_a_ping_carries_is_never_sent_back():
    (pong,) = answer(started(), message(18, b"\0\x06\0\x06secret"))
    assert pong == message(19, b"\0\x06" + bytes(6))


@pytest.mark.parametrize("payload", [message(18), message(18, b"\0\0\0"), message(18, b"\0\0\0\x05abcd")])
def test_a_truncated_ping_closes(payload):
    assert refusal(started(), payload)


@pytest.mark.parametrize("payload", [message(19), message(19, b"\0\x01")])
def test_a_truncated_pong_closes(payload):
    assert refusal(started(), payload)


def test_our_ping_waits_for_the_pong_of_its_size():
    rules = started()
    assert rules.ping(0.0, 5, 2) == message(18, b"\0\x05\0\x02\0\0")
    assert rules.receive(Pong(4).encode(), 0.0) is None
    assert rules.receive(Pong(5).encode(), 0.0) == Pong(5)
    assert rules.receive(Pong(5).encode(), 0.0) is None, "it was answered already"
    assert rules.closed is None


def test_a_pong_answers_the_pings_before_its_own_too():
    rules = started(patience=10.0)
    rules.ping(0.0, 1)
    rules.ping(0.0, 2)
    rules.ping(5.0, 3)
    assert rules.receive(Pong(2).encode(), 6.0) == Pong(2)
    rules.tick(14.9, received=False)
    assert rules.closed is None
    rules.tick(15.0, received=False)
    assert rules.closed == "ping not answered in 10 s"


@pytest.mark.parametrize(("wanted", "padding"), [(-1, 0), (65536, 0), (0, -1), (0, 65530)])
def test_a_ping_that_does_not_fit_is_refused(wanted, padding):
    with pytest.raises(LocalProtocolError, match="0 to 65529 bytes and asks for 0 to 65535"):
        started().ping(0.0, wanted, padding)


def test_the_largest_ping_fits_a_message_and_awaits_no_pong():
    rules = started(patience=1.0)
    assert len(rules.ping(0.0, 65535, 65529)) == 65535
    rules.tick(10.0, received=False)
    assert rules.closed is None


def test_no_ping_before_init_or_after_the_end():
    rules = Bolt1(now=0.0)
    with pytest.raises(LocalProtocolError):
        rules.ping(0.0)
    rules.receive(INIT, 0.0)
    rules.fail("enough")
    with pytest.raises(LocalProtocolError):
        rules.ping(0.0)


# Keepalive


def test_silence_is_pinged_and_then_ends_the_connection():
    rules = started(idle=60.0, patience=30.0)
    rules.tick(59.9, received=False)
    assert rules.outgoing() == []
    rules.tick(60.0, received=False)
    assert rules.outgoing() == [Ping().encode()]
    rules.tick(89.9, received=False)
    assert rules.closed is None
    rules.tick(90.0, received=False)
    assert rules.closed == "ping not answered in 30 s"
    assert rules.outgoing() == [], "nobody is there to read a warning"
    rules.tick(200.0, received=True)
    assert rules.closed == "ping not answered in 30 s"


def test_whatever_is_heard_puts_the_ping_off():
    rules = started(idle=60.0)
    for now in range(50, 1000, 50):
        rules.tick(float(now), received=True)
    assert rules.outgoing() == []
    rules.tick(1010.0, received=False)
    assert rules.outgoing() == [Ping().encode()]


def test_a_peer_that_talks_while_its_pong_is_late_is_alive():
    """The pong may wait behind megabytes that came first."""
    rules = started(idle=60.0, patience=30.0)
    rules.tick(60.0, received=False)
    for now in range(80, 400, 20):
        rules.tick(float(now), received=True)
    assert rules.closed is None
    rules.tick(409.9, received=False)
    assert rules.closed is None
    rules.tick(410.0, received=False)
    assert rules.closed


def test_an_answered_ping_starts_over():
    rules = started(idle=60.0, patience=30.0)
    rules.tick(60.0, received=False)
    assert rules.receive(Pong().encode(), 61.0) == Pong()
    rules.tick(62.0, received=True)
    rules.outgoing()
    rules.tick(121.9, received=False)
    assert rules.outgoing() == []
    rules.tick(122.0, received=False)
    assert rules.outgoing() == [Ping().encode()]


# Errors and warnings


@pytest.mark.parametrize("kind", ["warning", "error"])
def test_a_notice_comes_back_and_closes_nothing(kind):
    rules = started()
    notice = Notice(kind, "no such channel", b"\x07" * 32)
    assert rules.receive(notice.encode(), 0.0) == notice
    assert rules.closed is None
    assert rules.outgoing() == []


def test_notices_on_the_wire():
    assert encode_warning("hi") == message(1, bytes(32) + b"\0\x02hi")
    assert encode_error("hi") == message(17, bytes(32) + b"\0\x02hi")
    assert encode_error("", b"\x01" * 32) == message(17, b"\x01" * 32 + b"\0\0")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b" ~printable~ ", " ~printable~ "),
        (b"\x1b[2Jcleared", "1b5b324a636c6561726564"),
        (b"two\nlines", b"two\nlines".hex()),
        (b"\x7f", "7f"),
        ("ä".encode(), "c3a4"),
        (b"\0", "00"),
    ],
)
def test_text_that_is_not_printable_ascii_is_shown_as_hex(data, text):
    assert printable(data) == text
    for type_id in (1, 17):
        notice = started().receive(message(type_id, bytes(32) + len(data).to_bytes(2, "big") + data), 0.0)
        assert notice.text == text


def test_our_own_text_is_cut_to_fit_and_made_ascii():
    payload = encode_warning("ä" + "x" * 70_000)
    assert len(payload) == 65535
    assert Notice.decode(payload).text == "?" + "x" * 65498


@pytest.mark.parametrize("type_id", [1, 17])
@pytest.mark.parametrize("body", [b"", bytes(32), bytes(33), bytes(32) + b"\0\x03ab"])
def test_a_truncated_notice_closes(type_id, body):
    assert refusal(started(), message(type_id, body))


# Everything else


@pytest.mark.parametrize("type_id", [32, 64])
def test_a_channel_is_refused_by_its_temporary_id(type_id):
    rules = started()
    body = REGTEST + b"\x42" * 32 + bytes(200)
    (error,) = answer(rules, message(type_id, body))
    assert Notice.decode(error) == Notice("error", "this node has no channels", b"\x42" * 32)


@pytest.mark.parametrize("type_id", [32, 64])
@pytest.mark.parametrize("body", [b"", REGTEST, REGTEST + b"\x42" * 5, REGTEST + bytes(32 + 200)])
def test_a_channel_without_an_id_is_refused_by_a_warning(type_id, body):
    """An error with none, which is all zeros, would be for all channels of the peer's."""
    (warning,) = answer(started(), message(type_id, body))
    assert Notice.decode(warning) == Notice("warning", "this node has no channels")


@pytest.mark.parametrize("channel_id", [bytes(32), b"\x42" * 32], ids=["all channels", "one channel"])
def test_an_error_is_told_of_and_the_connection_stays(channel_id):
    rules = started()
    notice = Notice("error", "sync error", channel_id)
    assert rules.receive(notice.encode(), 1.0) == notice
    assert rules.closed is None
    assert rules.outgoing() == []


@pytest.mark.parametrize("type_id", sorted({*BOLT_TYPES, 260} - {1, 7, 9, 16, 17, 18, 19, 32, 64}))
def test_other_types_of_the_bolts_are_ignored(type_id):
    """Gossip right after init, say: 256 to 265, some even."""
    assert answer(started(), message(type_id)) == []
    assert answer(started(), message(type_id, bytes(1000))) == []


@pytest.mark.parametrize("payload", [b"", b"\0", b"\x10", b"\x8c", b"\xff"])
@pytest.mark.parametrize("initialised", [False, True])
def test_what_is_too_short_for_a_type_is_answered_with_a_warning(payload, initialised):
    rules = started() if initialised else Bolt1(now=0.0)
    (warning,) = answer(rules, payload)
    assert Notice.decode(warning) == Notice("warning", f"message of {len(payload)} bytes has no type")


def test_internal_is_what_an_application_never_sees():
    two = {prefix for prefix in INTERNAL if len(prefix) == 2}
    assert two == {type_id.to_bytes(2, "big") for type_id in {*REFUSED, 260}}
    assert {b"\0\x07", b"\0\x09"}.isdisjoint(two), "applications may speak peer storage"
    assert {b"", b"\0", b"\x8c", b"\xff"} <= INTERNAL


def test_outgoing_gives_each_payload_once_and_in_order():
    rules = started()
    for wanted in (1, 2, 3):
        rules.receive(Ping(wanted).encode(), 0.0)
    assert rules.outgoing() == [Pong(wanted).encode() for wanted in (1, 2, 3)]
    assert rules.outgoing() == []


def test_after_the_end_nothing_is_answered():
    rules = started()
    refusal(rules, INIT)
    reason = rules.closed
    assert rules.receive(Ping().encode(), 0.0) is None
    assert rules.receive(b"", 0.0) is None
    rules.tick(1e9, received=False)
    assert rules.outgoing() == []
    assert rules.closed == reason
