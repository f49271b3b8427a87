"""The plugin with oddwire's own codecs and transports, registered by the same hooks as any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from oddwire.app.hookspecs import hookimpl
from oddwire.codecs.base import Codec
from oddwire.codecs.registry import builtin_codecs
from oddwire.transports.base import Transport

__all__ = ["Builtins"]


class Builtins:
    """Codecs msgpack, bolt, json and raw; transports bolt8, cln, lnd, memory and nats, with their classes' options."""

    name = "oddwire"

    @hookimpl
    def register_codecs(self) -> Iterable[Codec]:
        """Return the four codecs."""
        return builtin_codecs()

    @hookimpl
    def register_transports(self) -> Mapping[str, Callable[..., Transport]]:
        """Return the five transports."""
        return {"bolt8": _bolt8, "cln": _cln, "lnd": _lnd, "memory": _memory, "nats": _nats}


# A transport is imported when one is created, without the others and the cryptography of bolt8.


def _bolt8(**options: Any) -> Transport:
    from oddwire.transports.bolt8.transport import Bolt8Transport

    return _make(Bolt8Transport, options)


def _cln(**options: Any) -> Transport:
    from oddwire.transports.cln.transport import ClnTransport

    return _make(ClnTransport, options)


def _lnd(**options: Any) -> Transport:
    from oddwire.transports.lnd.transport import LndTransport

    return _make(LndTransport, options)


def _memory(**options: Any) -> Transport:
    from oddwire.transports.memory import MemoryTransport

    return _make(MemoryTransport, options)


def _nats(**options: Any) -> Transport:
    from oddwire.transports.nats.transport import NatsTransport

    return _make(NatsTransport, options)


def _make(kind: Callable[..., Transport], options: Mapping[str, Any]) -> Transport:
    """Return a transport. Raises what it raises; over a name that it does not have, `TypeError` with those it has."""
    try:
        return kind(**options)
    except TypeError as error:
        import inspect  # only for errors

        names = list(inspect.signature(kind).parameters)
        if set(options) <= set(names):
            raise
        raise TypeError(f"{error}; it has {', '.join(names) or 'no options'}") from None
