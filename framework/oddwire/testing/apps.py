"""Applications for tests: the implementation of the fixtures `run_app` and `app_pair`."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from os import PathLike, fspath
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from oddwire.errors import ExtensionError
from oddwire.proto.keys import PrivateKey
from oddwire.session.limits import Limits
from oddwire.testing.entering import entering
from oddwire.testing.running_app import MakeTransport, Recipe, RunningApp
from oddwire.transports.memory import MemoryNetwork

if TYPE_CHECKING:
    from oddwire.app.plugins.manager import Contribution
    from oddwire.testing.fixture_types import AppPair, RunApp

__all__ = ["AppRunner", "app_pair", "run_app"]

T = TypeVar("T")

_Path: TypeAlias = str | PathLike[str]


class AppRunner:
    """Runs applications: `run` is what the fixture `run_app` returns, `pair` what `app_pair` does.

    ``folder`` is called, once, for the folder of their stores; without it, each has a temporary one.
    """

    def __init__(self, network: MemoryNetwork, folder: Callable[[], Path] | None = None) -> None:
        self._network = network
        self._make_folder = folder
        self._folder: Path | None = None
        self._numbers = itertools.count(1)

    @entering("run_app(...)", "app")
    @asynccontextmanager
    async def run(
        self,
        *extensions: object,
        transport: MakeTransport = "memory",
        store: _Path | EllipsisType | None = ...,
        options: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        session: bool = True,
        provide: Mapping[Any, Any] | None = None,
        grace: float = 5.0,
        key: PrivateKey | None = None,
        program: int | None = None,
    ) -> AsyncIterator[RunningApp]:
        """Run one application; see `RunApp`."""
        if key is not None and not isinstance(key, PrivateKey):
            raise ExtensionError(f"key should be a PrivateKey, not {key!r:.200}")
        recipe = Recipe(
            extensions=extensions,
            network=self._network,
            transport=transport,
            key=key or self._network.next_key(),
            store=self._new_store() if isinstance(store, EllipsisType) else store,
            options=options,
            limits=limits,
            session=session,
            provide=provide,
            grace=grace,
            program=program,
        )
        app = RunningApp(recipe)
        async with app:
            yield app

    @entering("app_pair(...)", "(server, client)")
    @asynccontextmanager
    async def pair(
        self,
        server: object,
        client: object | None = None,
        /,
        *,
        transport: MakeTransport = "memory",
        store: _Path | EllipsisType | tuple[_Path | EllipsisType | None, _Path | EllipsisType | None] | None = ...,
        options: Mapping[str, Any] | tuple[Mapping[str, Any] | None, Mapping[str, Any] | None] | None = None,
        limits: Limits | tuple[Limits | None, Limits | None] | None = None,
        session: bool | tuple[bool, bool] = True,
        provide: Mapping[Any, Any] | tuple[Mapping[Any, Any] | None, Mapping[Any, Any] | None] | None = None,
        grace: float | tuple[float, float] = 5.0,
    ) -> AsyncIterator[tuple[RunningApp, RunningApp]]:
        """Run two applications, the second connected to the first; see `AppPair`."""
        sides = [_listed(server), _listed(server if client is None else client)]
        stores = _of_both("store", store)
        if isinstance(store, (str, PathLike)) and fspath(store) != ":memory:":
            raise ExtensionError(f"two applications cannot share a store: store=({fspath(store)!r}, other) has two")
        all_options, things, limit = _of_both("options", options), _of_both("provide", provide), ("limits", limits)
        if client is not None:
            if isinstance(options, Mapping):
                all_options = _shared_out(sides, options, _knows_option)
            if isinstance(provide, Mapping):
                things = _shared_out(sides, provide, _knows_thing)
        limits_of, sessions, graces = _of_both(*limit), _of_both("session", session), _of_both("grace", grace)
        first, second = (
            self.run(
                *side,
                transport=transport,
                store=stores[number],
                options=all_options[number],
                limits=limits_of[number],
                session=sessions[number],
                provide=things[number],
                grace=graces[number],
            )
            for number, side in enumerate(sides)
        )
        async with first as left, second as right:
            await right.connect(left.uris[0])
            yield left, right

    def _new_store(self) -> Path:
        if self._folder is None:
            self._folder = _temporary_folder(self) if self._make_folder is None else self._make_folder()
        return self._folder / f"app-{next(self._numbers)}.sqlite3"


def run_app(network: MemoryNetwork) -> RunApp:
    """Return what the fixture ``run_app`` is, for tests without it."""
    return AppRunner(network).run


def app_pair(network: MemoryNetwork) -> AppPair:
    """Return what the fixture ``app_pair`` is, for tests without it."""
    return AppRunner(network).pair


def _temporary_folder(owner: object) -> Path:
    """Return a new folder that is removed with its owner."""
    folder = tempfile.mkdtemp(prefix="oddwire-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _of_both(name: str, given: T | tuple[T, T]) -> tuple[T, T]:
    """Return the values for server and client. Raises `ExtensionError` for a tuple of another length."""
    if not isinstance(given, tuple):
        return given, given
    if len(given) != 2:
        raise ExtensionError(
            f"{name} should be one value, or a tuple of two, for server and client, not {given!r:.200}"
        )
    return given


_Knows: TypeAlias = Callable[[Sequence[object], Mapping[Any, Any]], set[Any]]


def _shared_out(
    sides: Sequence[Sequence[object]], given: Mapping[Any, Any], knows: _Knows
) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return what of ``given`` each of two applications knows; what neither does goes to both, to be refused."""
    known = [knows(extensions, given) for extensions in sides]
    anywhere = known[0] | known[1]
    left, right = ({key: value for key, value in given.items() if key in mine or key not in anywhere} for mine in known)
    return left, right


def _knows_option(extensions: Sequence[object], given: Mapping[Any, Any]) -> set[Any]:
    declared = {option.name for contribution in _contributions(extensions) for option in contribution.options}
    return declared & given.keys()


def _knows_thing(extensions: Sequence[object], given: Mapping[Any, Any]) -> set[Any]:
    from oddwire.app.plugins.injection import Injector

    injector = Injector(_contributions(extensions), given, strict=False)
    return {annotation for annotation in given if injector.knows(annotation)}


def _contributions(extensions: Sequence[object]) -> tuple[Contribution, ...]:
    """Return what extensions declare. Raises as loading them does."""
    from oddwire.app.plugins.manager import PluginManager

    plugins = PluginManager()
    for extension in extensions:
        plugins.add(extension)
    return plugins.contributions


def _listed(extensions: object) -> Sequence[object]:
    return extensions if isinstance(extensions, Sequence) and not isinstance(extensions, str) else (extensions,)
