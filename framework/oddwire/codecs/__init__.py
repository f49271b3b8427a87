"""Messages to payloads and back: `Registry`, the built-in codecs, and the base class `Codec`."""

from typing import TYPE_CHECKING

from oddwire.codecs.base import (
    Codec as Codec,
    Plan as Plan,
    check_received as check_received,
    check_size as check_size,
    type_bytes as type_bytes,
)
from oddwire.codecs.registry import (
    KnownTypeWarning as KnownTypeWarning,
    Registry as Registry,
)

if TYPE_CHECKING:
    from oddwire.codecs.bolt.codec import BoltCodec as BoltCodec
    from oddwire.codecs.bolt.subtypes import (
        decode_subtype as decode_subtype,
        encode_subtype as encode_subtype,
    )
    from oddwire.codecs.envelope import (
        TYPE_ID as TYPE_ID,
        enveloped as enveloped,
    )
    from oddwire.codecs.json import JsonCodec as JsonCodec
    from oddwire.codecs.msgpack.codec import MsgpackCodec as MsgpackCodec
    from oddwire.codecs.raw import RawCodec as RawCodec
    from oddwire.codecs.wrapped import WrappedCodec as WrappedCodec
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
