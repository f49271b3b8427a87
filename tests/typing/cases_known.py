"""What type checkers know of the BOLTs' own messages, and of TLV streams by themselves.

Read by test_checkers.py; never run.
"""
# pyright: strict

from typing import assert_type

from oddwire import Message, field, subtype, tu64
from oddwire.codecs import decode_subtype, encode_subtype
from oddwire.known import bolts
from oddwire.known.bolts import Init, Offer, Ping
from oddwire.proto import PublicKey

message = bolts.decode(b"")
assert_type(message, Message)
print(message.features)  # error
if isinstance(message, Init):
    assert_type(message.features, bytes)
    if message.tlvs.networks is not None:
        assert_type(message.tlvs.networks.chains, tuple[bytes, ...])
    print(message.tlvs.networks.chains)  # error

bolts.encode(Ping(num_pong_bytes=3, ignored=b""))
bolts.encode(Ping(num_pong_bytes=3))  # error
bolts.encode(bolts.Warning(channel_id=bytes(32), data="text"))  # error
bolts.encode(7)  # error
print(bolts.Nothing)  # error
assert_type(bolts.FAILURES[18], type[Message])

offer = decode_subtype(Offer, b"")
assert_type(offer, Offer)
if offer.offer_paths is not None:
    assert_type(offer.offer_paths.paths[0].path[0].blinded_node_id, PublicKey)
decode_subtype(Offer, "text")  # error


@subtype
class Voucher:
    amount: tu64 = field(tlv=2)


assert_type(encode_subtype(Voucher(amount=3)), bytes)
assert_type(decode_subtype(Voucher, b""), Voucher)
