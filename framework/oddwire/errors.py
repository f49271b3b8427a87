"""Every exception oddwire raises on purpose.

::

    OddwireError
    ├─ DefinitionError            something an author or operator wrote is wrong; raised at import or load
    │  ├─ SchemaError             a message, field or CSV definition
    │  ├─ ContractError           a contract's file, or one that is another extension's
    │  ├─ TypeConflict            two claims on one type number          .type_id .owners
    │  └─ ExtensionError          an extension, handler, option or plugin
    ├─ CodecError                 a value or a payload                   .type_id .path .name
    │  ├─ EncodeError             our own value does not fit its schema
    │  │  ├─ ValueOutOfRange      outside what the field's type can hold
    │  │  └─ PayloadTooLarge      more bytes than it may have
    │  └─ DecodeError             bytes that are not a message we know   .offset
    │     ├─ UnknownMessage       no schema for this type                .required
    │     └─ MalformedMessage     a known type, but not a valid body
    │        ├─ Truncated              ends before its schema does
    │        ├─ TrailingBytes          goes on after its schema ends
    │        ├─ NotMinimal             an integer in more bytes than it needs
    │        ├─ OutOfOrder             TLV records descending or repeated
    │        └─ UnknownRequiredRecord  an unknown TLV record of even type
    ├─ ProtocolError              the rules of BOLT 1 or BOLT 8 were broken
    │  ├─ LocalProtocolError      by us: a call that is not allowed now
    │  └─ RemoteProtocolError     by the peer
    │     └─ HandshakeFailed      BOLT 8 acts one to three               .act
    │        └─ AuthenticationFailed   a MAC did not verify: wrong key or tampering
    ├─ TransportError             a peer or node cannot be reached
    │  ├─ ConnectionClosed        it ended                               .reason
    │  ├─ PeerNotConnected        there is none                          .node_id
    │  └─ NodeRefused             the host node refused                  .code .data
    ├─ RpcError                   an RPC method of ours refuses          .code .text .data
    └─ SessionError               an exchange with a peer
       ├─ ReplyTimeout            no reply in time                       .timeout .sent
       │  └─ OutOfStep            not sent: replies cannot be told apart
       ├─ RemoteFailure           the peer's handler failed              .code .text .node_id
       │  └─ RemoteRpcError       it answered with a JSON-RPC error      .data
       ├─ Refuse                  a handler of ours refuses              .code .text
       ├─ QuotaExceeded           a limit was reached                    .limit .extension
       ├─ StoreError              the store cannot be written or read    .path .reason
       └─ NotSupported            the peer lacks a feature               .feature

Facts are attributes; the text is for people. The type says whose fault it is: ``EncodeError``, ``LocalProtocolError``
and ``DefinitionError`` are ours, ``DecodeError`` and ``RemoteProtocolError`` the peer's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from oddwire.printable import printable

__all__ = [
    "AuthenticationFailed",
    "CodecError",
    "ConnectionClosed",
    "ContractError",
    "DecodeError",
    "DefinitionError",
    "EncodeError",
    "ExtensionError",
    "HandshakeFailed",
    "LocalProtocolError",
    "MalformedMessage",
    "NodeRefused",
    "NotMinimal",
    "NotSupported",
    "OddwireError",
    "OutOfOrder",
    "OutOfStep",
    "PayloadTooLarge",
    "PeerNotConnected",
    "ProtocolError",
    "QuotaExceeded",
    "Refuse",
    "RemoteFailure",
    "RemoteProtocolError",
    "RemoteRpcError",
    "ReplyTimeout",
    "RpcError",
    "SchemaError",
    "SessionError",
    "StoreError",
    "TrailingBytes",
    "TransportError",
    "Truncated",
    "TypeConflict",
    "UnknownMessage",
    "UnknownRequiredRecord",
    "ValueOutOfRange",
]


class OddwireError(Exception):
    """Base of every exception oddwire raises on purpose."""


# Definitions of an author or operator ---------------------------------------------------------------


class DefinitionError(OddwireError):
    """A definition is wrong: raised while importing or loading, never while messages flow."""


class SchemaError(DefinitionError):
    """A message, field or CSV definition cannot be compiled; the text names module, class and field."""


class ContractError(DefinitionError):
    """A contract cannot be read: its file is damaged, of a later version, or not of this extension."""


class TypeConflict(DefinitionError):
    """Two owners claim one type number.

    ``type_id`` is the number, ``owners`` the names of everyone who claims it, in the order they were loaded.
    """

    def __init__(self, text: str, *, type_id: int, owners: Sequence[str]) -> None:
        super().__init__(text)
        self.type_id = type_id
        self.owners = tuple(owners)


class ExtensionError(DefinitionError):
    """An extension, handler, option, RPC method or plugin cannot be loaded."""


# Values and payloads --------------------------------------------------------------------------------


class CodecError(OddwireError):
    """A value or a payload does not fit its schema.

    ``type_id`` is the message's type number (None for a subtype or when the type itself is missing), ``path``
    the place in the message, ``$`` being the whole: ``$.orders[2].price``. ``name`` is the message's name, with its
    extension's if known: ``market.Quote``; empty if there is no message of the type.
    """

    def __init__(self, text: str, *, type_id: int | None = None, path: str = "$", name: str = "") -> None:
        super().__init__(text)
        self.type_id = type_id
        self.path = path
        self.name = name

    def __str__(self) -> str:
        where = [] if self.type_id is None else [f"{self.name or 'type'} {self.type_id:#06x}"]
        if self.path != "$":
            where.append(self.path)
        return ": ".join([", ".join(where), str(self.args[0])]) if where else str(self.args[0])


class EncodeError(CodecError):
    """Our own value cannot be encoded: nothing was sent."""


class ValueOutOfRange(EncodeError):
    """A value outside what its field's type can hold: too large, too long, or of the wrong fixed length."""


class PayloadTooLarge(EncodeError):
    """An encoded message exceeds its max size, or BOLT 8's 65535 bytes where it cannot be sent in fragments.

    The two-byte type counts. A long message is also refused if it holds more values than peers accept.
    """


class DecodeError(CodecError):
    """Bytes from a peer are not a message we know. ``offset`` counts bytes from the payload's first."""

    def __init__(self, text: str, *, type_id: int | None = None, path: str = "$", offset: int | None = None) -> None:
        super().__init__(text, type_id=type_id, path=path)
        self.offset = offset

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.offset is None else f"{text} (at byte {self.offset})"


class UnknownMessage(DecodeError):
    """No schema is registered for this type. ``required`` is true for an even type (BOLT 1, it's OK to be odd)."""

    def __init__(self, text: str, *, type_id: int, required: bool) -> None:
        super().__init__(text, type_id=type_id, offset=0)
        self.required = required


class MalformedMessage(DecodeError):
    """The type is known, but the body is not valid."""


class Truncated(MalformedMessage):
    """The body ends before its schema does."""


class TrailingBytes(MalformedMessage):
    """The body goes on after its schema has ended."""


class NotMinimal(MalformedMessage):
    """A BigSize or truncated integer uses more bytes than its value needs (BOLT 1)."""


class OutOfOrder(MalformedMessage):
    """TLV records are not strictly ascending by type (BOLT 1)."""


class UnknownRequiredRecord(MalformedMessage):
    """A TLV stream holds an unknown record of even type (BOLT 1)."""


# The rules of the wire ------------------------------------------------------------------------------


class ProtocolError(OddwireError):
    """A rule of BOLT 1 or BOLT 8 was broken."""


class LocalProtocolError(ProtocolError):
    """We called something the protocol does not allow in this state; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer did something the protocol does not allow; the connection is closed."""


class HandshakeFailed(RemoteProtocolError):
    """BOLT 8's handshake ended early. ``act`` is 1, 2 or 3; ``code`` is the BOLT's name: ``ACT2_BAD_TAG``."""

    def __init__(self, text: str, *, act: int, code: str) -> None:
        super().__init__(text)
        self.act = act
        self.code = code


class AuthenticationFailed(HandshakeFailed):
    """A MAC of the handshake did not verify: the peer holds another key than expected, or bytes were changed."""


# Transports -----------------------------------------------------------------------------------------


class TransportError(OddwireError):
    """The transport could not carry out a call."""


class ConnectionClosed(TransportError):
    """The connection ended. ``reason`` says why, in words."""

    def __init__(self, reason: str = "connection closed") -> None:
        super().__init__(reason)
        self.reason = reason


class PeerNotConnected(TransportError):
    """There is no connection to this peer. ``node_id`` is its 33-byte public key in hex."""

    def __init__(self, text: str, *, node_id: str) -> None:
        super().__init__(text)
        self.node_id = node_id


class NodeRefused(TransportError):
    """The host node answered with a JSON-RPC error: ``code`` is its number, ``data`` its data or None.

    ``extra`` has members that JSON-RPC does not define, such as the ``traceback`` of a plugin written with pyln-client.
    """

    def __init__(self, text: str, *, code: int, data: object = None, extra: Mapping[str, object] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.data = data
        self.extra: Mapping[str, object] = extra or {}

    @classmethod
    def from_json(cls, error: Mapping[str, Any]) -> Self:
        """Return the exception for an error object, whose ``code`` must be an integer."""
        extra = {name: value for name, value in error.items() if name not in ("code", "message", "data")}
        return cls(str(error.get("message", "")), code=error["code"], data=error.get("data"), extra=extra)

    def to_json(self) -> dict[str, object]:
        """Return the JSON-RPC error object."""
        data = {} if self.data is None else {"data": self.data}
        return {"code": self.code, "message": str(self), **data, **self.extra}


# RPC ------------------------------------------------------------------------------------------------


class RpcError(OddwireError):
    """Raised by an RPC method to answer its caller with a JSON-RPC error: ``RpcError(-1, "no such order")``.

    ``code`` is an integer of 32 bits; JSON-RPC 2.0 reserves -32768 to -32000 for itself. ``text`` is for people;
    ``data`` is any value that JSON can hold, None for none. Raises `TypeError` or `ValueError` for a code or text of
    another kind.
    """

    def __init__(self, code: int, text: str, data: object = None) -> None:
        super().__init__(text)
        if type(code) is not int or not isinstance(text, str):
            raise TypeError(f"RpcError(code, text, data) takes an int and a str, not {code!r:.100} and {text!r:.100}")
        if not -(1 << 31) <= code < 1 << 31:
            raise ValueError(f"an error's code should have 32 bits at most, not {code}")
        self.code = code
        self.text = text
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.text, self.data), vars(self)


# Sessions -------------------------------------------------------------------------------------------


class SessionError(OddwireError):
    """An exchange with a peer failed."""


class ReplyTimeout(SessionError, TimeoutError):
    """No reply arrived within ``timeout`` seconds. ``sent`` is False if nothing was sent: it may be asked again."""

    def __init__(self, text: str, *, timeout: float, sent: bool = True) -> None:
        super().__init__(text)
        self.timeout = timeout
        self.sent = sent


class OutOfStep(ReplyTimeout):
    """A request was not sent, because its reply could not be told from the one to an earlier request.

    Only at a peer without ids, and for requests without a match: an earlier reply of the class has not come within
    ``timeout`` seconds, or, with 0, the peer has sent one that nobody asked for.
    """

    def __init__(self, text: str, *, timeout: float, sent: bool = False) -> None:
        super().__init__(text, timeout=timeout, sent=sent)


class RemoteFailure(SessionError):
    """The peer's handler failed; ``code`` and ``text`` are what the peer sent; ``str`` is the text, `printable`.

    ``node_id`` is the peer's; tracebacks show it, but the text does not, as the text may be sent to others.
    """

    def __init__(self, text: str, *, code: int = 0) -> None:
        super().__init__(printable(text))
        self.code = code
        self.text = text
        self.node_id: str | None = None

    def name_peer(self, node_id: object) -> None:
        """Set ``node_id``, once, and add it as a note for tracebacks."""
        if self.node_id is None:
            self.node_id = str(node_id)
            self.add_note(f"so says {self.node_id}")


class RemoteRpcError(RemoteFailure):
    """The peer answered a call with a JSON-RPC error; ``code``, ``text`` and ``data`` are what the peer sent.

    ``data`` is any JSON value, None if there was none. It and the text are the peer's own words, not for users' eyes.
    """

    def __init__(self, text: str, *, code: int, data: object = None) -> None:
        super().__init__(text, code=code)
        self.data = data


class Refuse(SessionError):
    """Raised by a handler to refuse: the peer's request fails with `RemoteFailure` with this ``code`` and ``text``.

    ``code`` is 4, refused, or one of the application's own, 1000 to 65535; ``text`` is for people, and max 1000 bytes
    of UTF-8 are sent. Where no reply is due, nothing is sent. Raises `ValueError` for another code.
    """

    def __init__(self, text: str, *, code: int = 4) -> None:
        super().__init__(text)
        # Those from 1 to 999 are the session protocol's own
        if code != 4 and not (isinstance(code, int) and 1000 <= code <= 0xFFFF):
            raise ValueError(f"Refuse: its code should be 4, or one of your own from 1000 to 65535, not {code!r}")
        self.code = code
        self.text = text

    @classmethod
    def of_session(cls, text: str, code: int) -> Refuse:
        """Return one with a code of the session protocol's own, from 1 to 65535: for oddwire itself."""
        refusal = cls(text)
        refusal.code = code
        return refusal


class QuotaExceeded(SessionError):
    """A limit was reached; ``limit`` names it, ``extension`` its owner, None for the application or the peer."""

    def __init__(self, text: str, *, limit: str, extension: str | None = None) -> None:
        super().__init__(text)
        self.limit = limit
        self.extension = extension


class StoreError(SessionError):
    """The store cannot be written or read: the failed call has had no effect.

    ``path`` is the database. ``reason`` is one of ``full``, ``read-only``, ``corrupt``, ``foreign`` (not a database of
    oddwire), ``newer`` (of a later oddwire), ``locked`` (by another process), ``moved`` (its file was moved, deleted or
    replaced while in use), ``unfinished`` (a move to another store was begun, and that store cannot be read), ``io``
    (any other error of the disk), ``closed``, ``fenced`` (in a cluster: another worker has the partition now, and what
    was under way counts if it was in the partition's log before); for a move also ``missing``, ``same``, ``unknown``,
    ``taken``. After ``full``, ``read-only``, ``locked``, ``moved`` and ``io`` the same call may succeed later, without
    a restart.
    """

    def __init__(self, text: str, *, path: str, reason: str) -> None:
        super().__init__(text)
        self.path = path
        self.reason = reason


class NotSupported(SessionError):
    """The peer has not shown support for a feature; ``feature`` names it."""

    def __init__(self, text: str, *, feature: str) -> None:
        super().__init__(text)
        self.feature = feature
