"""Build Lightning Network peer protocols in Python: message schemas and async handlers over BOLT 8 custom messages.

The top level has the names that extensions and programs need; others are in the packages: `oddwire.app` for
plugins with hooks, `oddwire.transports`, `oddwire.session`, `oddwire.codecs`, `oddwire.schema`, `oddwire.proto`,
`oddwire.testing`; the messages of protocols in the wild are in `oddwire.known`, all errors in `oddwire.errors`. Each
name is imported when it is first used, so a program that uses `oddwire.proto` alone loads nothing else.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire import known as known
    from oddwire.app import (
        Again as Again,
        AppContext as AppContext,
        Application as Application,
        Context as Context,
        Extension as Extension,
        Peer as Peer,
        hookimpl as hookimpl,
        run_plugin as run_plugin,
    )
    from oddwire.errors import (
        CodecError as CodecError,
        ConnectionClosed as ConnectionClosed,
        DecodeError as DecodeError,
        DefinitionError as DefinitionError,
        EncodeError as EncodeError,
        ExtensionError as ExtensionError,
        LocalProtocolError as LocalProtocolError,
        MalformedMessage as MalformedMessage,
        NodeRefused as NodeRefused,
        NotSupported as NotSupported,
        OddwireError as OddwireError,
        PeerNotConnected as PeerNotConnected,
        QuotaExceeded as QuotaExceeded,
        Refuse as Refuse,
        RemoteFailure as RemoteFailure,
        ReplyTimeout as ReplyTimeout,
        RpcError as RpcError,
        SchemaError as SchemaError,
        SessionError as SessionError,
        StoreError as StoreError,
        TransportError as TransportError,
        UnknownMessage as UnknownMessage,
    )
    from oddwire.proto.keys import (
        NodeId as NodeId,
        PrivateKey as PrivateKey,
        PublicKey as PublicKey,
        ShortChannelId as ShortChannelId,
    )
    from oddwire.schema import (
        Message as Message,
        UnknownVariant as UnknownVariant,
        as_text as as_text,
        bigsize as bigsize,
        bip340sig as bip340sig,
        bool8 as bool8,
        byte as byte,
        chain_hash as chain_hash,
        channel_id as channel_id,
        counted as counted,
        describe as describe,
        field as field,
        fixed as fixed,
        flag as flag,
        max_length as max_length,
        message as message,
        point as point,
        replace as replace,
        rest as rest,
        s8 as s8,
        s16 as s16,
        s32 as s32,
        s64 as s64,
        scalar as scalar,
        schema_of as schema_of,
        sciddir_or_pubkey as sciddir_or_pubkey,
        sha256 as sha256,
        short_channel_id as short_channel_id,
        signature as signature,
        subtype as subtype,
        tagged as tagged,
        tu16 as tu16,
        tu32 as tu32,
        tu64 as tu64,
        u8 as u8,
        u16 as u16,
        u32 as u32,
        u64 as u64,
        validates as validates,
    )
    from oddwire.session.limits import Limits as Limits
    from oddwire.session.reliable.receipt import Receipt as Receipt
    from oddwire.session.store.extension_store import ExtensionStore as ExtensionStore
    from oddwire.session.wire.frame_types import Code as Code
    from oddwire.version import __version__ as __version__
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names(
        elsewhere=(
            "oddwire.app",
            "oddwire.transports",
            "oddwire.session",
            "oddwire.codecs",
            "oddwire.known",
            "oddwire.schema",
            "oddwire.proto",
            "oddwire.errors",
            "oddwire.testing",
        )
    )
