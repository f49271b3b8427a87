"""oddwire.proto.features."""

import re

import pytest

from oddwire.errors import RemoteProtocolError
from oddwire.proto.features import (
    DEPENDENCIES,
    FEATURES,
    OTHER_FEATURES,
    check_features,
    feature_bits,
    feature_bytes,
    offers,
)

LARGEST = 65_500
"""Bytes of about the largest map that fits into an init."""


def test_bit_0_is_the_lowest_of_the_last_byte():
    assert feature_bytes({0}) == b"\x01"
    assert feature_bytes({9}) == b"\x02\x00"
    assert feature_bits(b"\x02\x01") == {0, 9}


def test_a_map_is_as_short_as_can_be_and_leading_zeros_mean_nothing():
    assert feature_bytes(()) == b""
    assert feature_bytes({7}) == b"\x80"
    assert feature_bytes({8}) == b"\x01\x00"
    assert feature_bits(b"\0\0\0\x01") == {0}
    assert feature_bits(b"") == frozenset()


@pytest.mark.parametrize("bits", [{0}, {1, 8, 15, 16}, {513, 2023}, set(range(100)), {8 * LARGEST - 1}])
def test_bits_come_back(bits):
    assert feature_bits(feature_bytes(bits)) == bits


def test_odd_and_even_offer_the_same_feature():
    for map_ in (feature_bytes({512}), feature_bytes({513})):
        assert offers(map_, 512)
        assert offers(map_, 513)
        assert not offers(map_, 511)
        assert not offers(map_, 514)
    assert not offers(b"", 0)


def test_an_unknown_odd_bit_is_ignored():
    check_features(feature_bytes({3, 513, 65_535}))


@pytest.mark.parametrize("bit", [32, 64, 512, 65_534])
def test_an_unknown_even_bit_closes(bit):
    with pytest.raises(RemoteProtocolError, match=rf"unknown feature bits {bit} \(BOLT 1"):
        check_features(feature_bytes({bit, 9, 513}))


def test_every_unknown_even_bit_is_named_in_order():
    with pytest.raises(RemoteProtocolError, match="unknown feature bits 32, 64, 512 "):
        check_features(feature_bytes({512, 32, 3, 64}))


def test_what_nodes_in_the_wild_announce_may_be_required():
    for bit in (*FEATURES, *OTHER_FEATURES):
        check_features(feature_bytes({bit, *DEPENDENCIES.get(bit, ())}))


@pytest.mark.parametrize("ours", [512, 513])
def test_what_we_understand_may_be_required_whichever_of_the_pair_we_name(ours):
    check_features(feature_bytes({512}), {ours})
    with pytest.raises(RemoteProtocolError, match="bits 514"):
        check_features(feature_bytes({512, 514}), {ours})


@pytest.mark.parametrize(("pair", "need"), [(pair, need) for pair, needs in DEPENDENCIES.items() for need in needs])
def test_a_feature_without_what_it_depends_on_closes(pair, need):
    text = re.escape(f"{FEATURES[pair]} without {FEATURES[need]}")
    for bit in (pair, pair + 1):
        with pytest.raises(RemoteProtocolError, match=text):
            check_features(feature_bytes({bit}))
        check_features(feature_bytes({bit, need}))
        check_features(feature_bytes({bit, need + 1}))


def test_what_a_core_lightning_node_requires_is_understood():
    check_features(feature_bytes({0, 8, 12, 14, 44}))


def test_the_largest_map_is_checked_without_a_walk_over_every_bit():
    """A peer chooses the size of its map. What a bit costs must not depend on how many there are."""
    check_features(b"\xaa" * LARGEST)
    assert len(feature_bits(b"\xff" * LARGEST)) == 8 * LARGEST
    with pytest.raises(RemoteProtocolError) as caught:
        check_features(b"\xff" * LARGEST)
    assert len(str(caught.value)) < 300, "the warning that names them stays short"
