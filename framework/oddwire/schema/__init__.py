"""Messages: `Message`, `@message`, `@subtype`, the field types, and conversion to dicts and text."""

from typing import TYPE_CHECKING

from oddwire.schema.class_records import (
    Field as Field,
    Record as Record,
    Schema as Schema,
)
from oddwire.schema.classes import replace as replace
from oddwire.schema.fields import (
    as_text as as_text,
    bigsize as bigsize,
    bip340sig as bip340sig,
    bool8 as bool8,
    byte as byte,
    chain_hash as chain_hash,
    channel_id as channel_id,
    counted as counted,
    field as field,
    fixed as fixed,
    flag as flag,
    max_length as max_length,
    point as point,
    rest as rest,
    s8 as s8,
    s16 as s16,
    s32 as s32,
    s64 as s64,
    sciddir_or_pubkey as sciddir_or_pubkey,
    sha256 as sha256,
    short_channel_id as short_channel_id,
    signature as signature,
    tagged as tagged,
    tu16 as tu16,
    tu32 as tu32,
    tu64 as tu64,
    u8 as u8,
    u16 as u16,
    u32 as u32,
    u64 as u64,
)
from oddwire.schema.message import (
    Message as Message,
    declare as declare,
    describe as describe,
    message as message,
    schema_of as schema_of,
    subtype as subtype,
)
from oddwire.schema.union_kinds import (
    UnknownVariant as UnknownVariant,
)

if TYPE_CHECKING:  # imported when first used: few plugins need them before their manifest
    from oddwire.schema.inspect import (
        from_dict as from_dict,
        from_strings as from_strings,
        to_dict as to_dict,
    )
    from oddwire.schema.procedure import Procedure as Procedure
    from oddwire.schema.scalars import scalar as scalar
    from oddwire.schema.validation import validates as validates
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
