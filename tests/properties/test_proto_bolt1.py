"""BOLT 1: what is written is read again, and two who keep the rules never part."""

import ipaddress
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oddwire.errors import RemoteProtocolError
from oddwire.proto.addresses import NodeUri, join_address, parse_address
from oddwire.proto.bolt1 import CHAINS, INTERNAL, Bolt1, Init, Notice, Ping, Pong
from oddwire.proto.features import DEPENDENCIES, FEATURES, check_features, feature_bits, feature_bytes, offers
from oddwire.proto.keys import NodeId
from oddwire.proto.type_numbers import BOLT_TYPES

ips = st.ip_addresses()
ports = st.integers(0, 65535)
addresses = st.builds(lambda ip, port: join_address(str(ip), port), ips, ports)
hashes = st.binary(min_size=32, max_size=32)
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300)
custom = st.builds(
    lambda number, body: number.to_bytes(2, "big") + body, st.integers(0x8000, 0xFFFF), st.binary(max_size=50)
)


@settings(deadline=None)
@given(
    st.sets(st.integers(0, 3000)),
    st.none() | st.lists(hashes, max_size=4).map(tuple),
    st.none() | addresses,
)
def test_an_init_comes_back(bits, networks, remote_addr):
    init = Init(features=feature_bytes(bits), networks=networks, remote_addr=remote_addr)
    assert Init.decode(init.encode()) == init


@settings(deadline=None)
@given(st.sets(st.integers(0, 5000)))
def test_feature_maps_come_back_and_say_what_they_offer(bits):
    features = feature_bytes(bits)
    assert feature_bits(features) == bits
    for bit in {*bits, 0, 1, 512}:
        assert offers(features, bit) is bool({bit, bit ^ 1} & bits)


@settings(deadline=None)
@given(st.sets(st.sampled_from([*FEATURES, *(bit + 1 for bit in FEATURES)])), st.sets(st.integers(256, 1000)))
def test_a_map_is_accepted_if_its_even_bits_are_known_and_its_dependencies_set(known, ours):
    features = feature_bytes(known | ours)
    pairs = {bit & ~1 for bit in known}
    whole = all(set(needs) <= pairs for pair, needs in DEPENDENCIES.items() if pair in pairs)
    try:
        check_features(features, ours)
    except RemoteProtocolError:
        assert not whole
    else:
        assert whole


@settings(deadline=None)
@given(st.sampled_from(["warning", "error"]), printable, hashes)
def test_a_notice_comes_back(kind, text, channel_id):
    assert Notice.decode(Notice(kind, text, channel_id).encode()) == Notice(kind, text, channel_id)


@settings(deadline=None)
@given(st.integers(0, 65535), st.integers(0, 65529))
def test_pings_and_pongs_come_back(wanted, size):
    assert Ping.decode(Ping(wanted, size).encode()) == Ping(wanted, size)
    assert Pong.decode(Pong(size).encode()) == Pong(size)


@settings(deadline=None)
@given(ips, ports, st.binary(min_size=32, max_size=32))
def test_addresses_and_uris_come_back(ip, port, key):
    assert parse_address(join_address(str(ip), port)) == (str(ip), port)
    uri = NodeUri(NodeId(b"\x02" + key), str(ip), port)
    assert NodeUri.parse(str(uri)) == uri


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_value_error(text):
    try:
        host, port = parse_address(text)
    except ValueError:
        return
    assert host
    assert 0 <= port <= 65535
    assert parse_address(join_address(host, port)) == (host, port)
    if ":" in host:
        ipaddress.IPv6Address(host)


class TwoWhoKeepTheRules(RuleBasedStateMachine):
    """Both ends of a connection, with messages and time between them."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.ends = [Bolt1(features={513}, networks=[CHAINS["regtest"]], now=0.0) for _ in range(2)]
        self.ways = [deque([self.ends[1].start()]), deque([self.ends[0].start("8.8.8.8:9")])]  # to either end
        self.received = [False, False]

    def say(self, end, *payloads):
        self.ways[1 - end].extend((*payloads, *self.ends[end].outgoing()))

    @rule(end=st.integers(0, 1), count=st.integers(1, 10))
    def receive(self, end, count):
        for _ in range(min(count, len(self.ways[end]))):
            payload = self.ways[end].popleft()
            self.received[end] = True
            if self.ends[end].init is None or payload[:2] in INTERNAL:
                self.ends[end].receive(payload, self.now)
                self.say(end)

    @precondition(lambda self: self.ends[0].init and self.ends[1].init)
    @rule(end=st.integers(0, 1), wanted=st.integers(0, 65535), padding=st.integers(0, 100))
    def ping(self, end, wanted, padding):
        self.say(end, self.ends[end].ping(self.now, wanted, padding))

    @precondition(lambda self: self.ends[0].init and self.ends[1].init)
    @rule(end=st.integers(0, 1), payload=custom)
    def send(self, end, payload):
        self.say(end, payload)

    @precondition(lambda self: self.ends[0].init and self.ends[1].init)
    @rule(end=st.integers(0, 1), type_id=st.sampled_from(sorted(BOLT_TYPES.keys() - {1, 16, 17, 18, 19})))
    def send_what_is_ignored(self, end, type_id):
        self.say(end, type_id.to_bytes(2, "big") + bytes(100))

    @rule(end=st.integers(0, 1), text=printable)
    def complain(self, end, text):
        if self.ends[end].init is not None:
            self.say(end, Notice("warning", text).encode())

    @rule(seconds=st.floats(0, 15))
    def wait(self, seconds):
        """Time passes; what is under way arrives within it."""
        for end in (0, 1, 0, 1, 0, 1):
            self.receive(end, 10**6)
        self.now += seconds
        for end in (0, 1):
            self.ends[end].tick(self.now, received=self.received[end])
            self.received[end] = False
            self.say(end)

    @invariant()
    def nobody_hangs_up(self):
        assert [end.closed for end in self.ends] == [None, None]


TestTwoWhoKeepTheRules = TwoWhoKeepTheRules.TestCase
