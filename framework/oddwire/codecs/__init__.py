"""Messages to payloads and back: `Registry`, and the base class `Codec`."""

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
    from oddwire.codecs.envelope import (
        TYPE_ID as TYPE_ID,
        enveloped as enveloped,
    )
    from oddwire.codecs.wrapped import WrappedCodec as WrappedCodec
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
