"""A JSON-RPC method of a peer on the command line: ``oddwire send URI lsps.lsps1.get_info``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oddwire.app import Extension, Peer
from oddwire.app.declarations.peer_methods import PeerMethod, field_kind
from oddwire.app.peer_rpc import PeerRpc
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.send_modes import report
from oddwire.cli.shell_words import as_typed
from oddwire.cli.vocabulary import Vocabulary
from oddwire.errors import EncodeError, ExtensionError, RemoteRpcError, ReplyTimeout, SchemaError
from oddwire.schema.inspect import plain_from_text
from oddwire.schema.kinds import Kind

__all__ = ["PeerCall", "method_names", "peer_call"]

_TIMEOUT: Final = 60.0  # seconds by default, as bLIP-50 wants it on the scale of minutes


class PeerCall:
    """One call of a method, or a notification of that name.

    ``extension`` makes it: it stands for the one that has the `PeerRpc`, without what that does. ``timeout`` is in
    seconds.
    """

    def __init__(
        self, extension: Extension, rpc: PeerRpc, method: str, params: Mapping[str, Any], notification: bool
    ) -> None:
        self.extension = extension
        self.timeout = _TIMEOUT
        self._method = method
        self._notification = notification
        self._rpc = rpc
        self._params = params

    async def run(self, peer: Peer, printer: Printer) -> int:
        """Make the call, and print its result. Return 0 if there is one; of a notification, if it was sent."""
        if self._notification:
            await self._rpc.notify(peer, self._method, self._params)
            return 0
        try:
            result = await self._rpc.call(peer, self._method, self._params, timeout=self.timeout)
        except RemoteRpcError as error:
            return report(printer, peer, f"{self.extension.name}.{self._method}: {error}", error)
        except ReplyTimeout as error:
            return report(printer, peer, str(error), error)
        printer.event(Event(event="result", peer=peer.node_id, method=self._method, value=result))
        return 0


def method_names(vocabulary: Vocabulary) -> list[str]:
    """Return the names of an extension's own JSON-RPC methods and notifications."""
    return sorted({name for rpc in vocabulary.peer_rpcs for name in rpc.methods})


def peer_call(vocabulary: Vocabulary, method: str, assignments: Sequence[str]) -> PeerCall | None:
    """Return the call of a method that an extension declares, or of any other with a dot in its name.

    Parameters are ``name=value``. Those of a declared method are read by their types, others as `oddwire call` reads
    values. None if it is neither. Raises `CommandFailure` for parameters that do not fit.
    """
    declared = next((rpc for rpc in vocabulary.peer_rpcs if method in rpc.methods), None)
    rpc = declared or (vocabulary.peer_rpcs[0] if vocabulary.peer_rpcs and "." in method else None)
    if rpc is None:
        return None
    name = f"{vocabulary.name}.{method}"
    own = None if declared is None else declared.methods[method]
    params = _read(name, assignments, own)
    version = vocabulary.versions[0] if vocabulary.versions else "1.0"
    client = Extension(vocabulary.name, version=version, peer_feature=vocabulary.peer_feature)
    notification = own is not None and own.notification
    return PeerCall(client, PeerRpc(client, rpc.type_id, spec=True), method, params, notification)


def _read(name: str, assignments: Sequence[str], method: PeerMethod | None) -> dict[str, Any]:
    from oddwire.cli.call import read_value

    kinds, required = ({}, ()) if method is None else _kinds(method)
    params: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            raise _wrong(name, kinds, f"{assignment!r} should be name=value")
        if key in params:
            raise _wrong(name, kinds, f"parameter {key!r} is given twice")
        if method is not None and key not in kinds:
            close = difflib.get_close_matches(key, kinds, 1)
            hint = f", did you mean {close[0]}?" if close else ""
            raise _wrong(name, kinds, f"there is no parameter {key!r}{hint}")
        kind, typed = kinds.get(key), as_typed(text)
        try:
            params[key] = read_value(typed) if kind is None else plain_from_text(kind, typed, key)
        except EncodeError as error:
            raise _wrong(name, kinds, f"{error.path} {error.args[0]}") from None
        except ValueError as error:
            raise _wrong(name, kinds, f"{key}: {error}") from None
    missing = [key for key in required if key not in params]
    if missing:
        raise _wrong(name, kinds, f"{' and '.join(missing)} should be given")
    return params


def _kinds(method: PeerMethod) -> tuple[dict[str, Kind | None], Sequence[str]]:
    """Return the kinds of a method's parameters by name, and those that are required.

    None stands for a type that is not known here: that of what is provided, say, which is no parameter of its callers.
    """
    record = None if method.procedure is None else method.procedure.record
    if method.procedure is not None:
        fields = () if record is None else record.fields
        return {field.key: field.kind for field in fields}, [field.key for field in fields if field.required]
    kinds: dict[str, Kind | None] = {}
    for key in method.names:
        try:
            kinds[key] = field_kind(method.annotation(key))
        except (SchemaError, ExtensionError):
            kinds[key] = None
    return kinds, ()


def _wrong(name: str, kinds: Mapping[str, Kind | None], text: str) -> CommandFailure:
    known = [key if kind is None else f"{key}: {kind.label}" for key, kind in kinds.items()]
    return CommandFailure(f"{name}: {text}" + (f"; its parameters are: {', '.join(known)}" if known else ""), USAGE)
