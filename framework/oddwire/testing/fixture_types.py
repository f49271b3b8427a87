"""Types of pytest's fixtures, for the annotations of authors' tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from os import PathLike
    from types import EllipsisType

    from oddwire.app import Application
    from oddwire.proto.keys import PrivateKey
    from oddwire.session.limits import Limits
    from oddwire.testing.raw_peers import RawPeer
    from oddwire.testing.running_app import MakeTransport, RunningApp

    Store: TypeAlias = str | PathLike[str] | EllipsisType | None

__all__ = ["AppPair", "RawPeers", "RunApp"]


class RunApp(Protocol):
    """The type of the fixture ``run_app``: runs one application, ``async with run_app(extension) as app:``."""

    def __call__(
        self,
        *extensions: object,
        transport: MakeTransport = "memory",
        store: Store = ...,
        options: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        session: bool = True,
        provide: Mapping[Any, Any] | None = None,
        grace: float = 5.0,
        key: PrivateKey | None = None,
        program: int | None = None,
    ) -> AbstractAsyncContextManager[RunningApp]:
        """Run an application of ``extensions``; its keywords are those of `Application`.

        ``transport`` is ``"memory"``, the network of the test, ``"bolt8"``, which listens on 127.0.0.1, or a function
        that makes a transport of a key. ``store`` is by default a file of its own. ``key`` is by default the next of a
        series that is the same in every test.
        """
        ...


class AppPair(Protocol):
    """The type of the fixture ``app_pair``: runs two, ``async with app_pair(one, other) as (server, client):``."""

    def __call__(
        self,
        server: object,
        client: object | None = None,
        /,
        *,
        transport: MakeTransport = "memory",
        store: Store | tuple[Store, Store] = ...,
        options: Mapping[str, Any] | tuple[Mapping[str, Any] | None, Mapping[str, Any] | None] | None = None,
        limits: Limits | tuple[Limits | None, Limits | None] | None = None,
        session: bool | tuple[bool, bool] = True,
        provide: Mapping[Any, Any] | tuple[Mapping[Any, Any] | None, Mapping[Any, Any] | None] | None = None,
        grace: float | tuple[float, float] = 5.0,
    ) -> AbstractAsyncContextManager[tuple[RunningApp, RunningApp]]:
        """Run two applications, the second connected to the first.

        ``server`` and ``client`` are each an extension or a sequence of them; without ``client``, both run the same.
        A keyword's value is for both, a tuple of two for server and client. Of ``options`` and ``provide`` for both,
        each side has what its extensions know. The keywords are those of `RunApp`.
        """
        ...


class RawPeers(Protocol):
    """The type of the fixture ``raw_peer``: connects one, ``async with raw_peer(app) as peer:``."""

    def __call__(
        self, app: Application | str, *, features: Iterable[int] = (), key: PrivateKey | None = None
    ) -> AbstractAsyncContextManager[RawPeer]:
        """Connect a peer to an application, or to the node of a URI.

        ``features`` are the bits of its init, ``key`` determines its node id. Raises `TransportError` for an
        application that nobody can dial, and what connecting raises.
        """
        ...
