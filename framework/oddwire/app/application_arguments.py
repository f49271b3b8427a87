"""Checks of an application's arguments, before anything is created from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from oddwire.app.plugins.loaded_plugins import LoadedPlugins
from oddwire.app.plugins.manager import PluginManager
from oddwire.errors import ExtensionError, OddwireError
from oddwire.transports.base import Transport

if TYPE_CHECKING:
    from oddwire.session.limits import Limits

__all__ = ["check_arguments", "check_provide", "make_transport"]


def check_arguments(
    transport: object,
    transport_options: object,
    options: object,
    plugins: object,
    store: object,
    limits: Limits | object,
    session: object,
    grace: object,
    assembly: object,
    program: object,
    metrics: object = False,
) -> None:
    """Raise `ExtensionError` for an argument of a type that `Application` does not accept, saying which it does."""
    if not isinstance(transport, (Transport, str)):
        hint = ""
        if isinstance(transport, type) and issubclass(transport, Transport):
            hint = f": give an instance, {transport.__name__}(...)"
        _fail("transport", "a Transport, or the name of one", transport, hint)
    _check_mapping("transport_options", transport_options)
    _check_mapping("options", options)
    if plugins is not None and not isinstance(plugins, PluginManager):
        _fail("plugins", "a PluginManager (extensions come first: Application(extension, ...))", plugins)
    if isinstance(store, (str, os.PathLike)):
        if not store or not isinstance(os.fspath(store), str):
            _fail("store", "the path of a database, or ':memory:'", store)
    elif store is not None:
        from oddwire.session.store.commit_log import RemoteLog  # imported late: few applications have one

        if not isinstance(store, RemoteLog):
            _fail("store", "the path of a database, or ':memory:'", store)
    if limits is not None:
        from oddwire.session.limits import Limits  # imported late: few applications set limits

        if not isinstance(limits, Limits):
            _fail("limits", "Limits(...)", limits)
    if not isinstance(session, bool):
        _fail("session", "True or False", session)
    if not isinstance(metrics, bool):
        _fail("metrics", "True or False", metrics)
    if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not grace >= 0:
        _fail("grace", "a number of seconds, 0 or more", grace)
    if assembly is not None and not isinstance(assembly, LoadedPlugins):
        _fail("assembly", "an Assembly", assembly)
    if program is not None and (
        isinstance(program, bool) or not isinstance(program, int) or not 0 <= program < 1 << 64
    ):
        _fail("program", "a number from 0 to 2**64 - 1, the same for each start", program)


def check_provide(provide: object) -> None:
    """Raise `ExtensionError` for what is no mapping. Which types it may have is known where they are taken."""
    if provide is not None and not isinstance(provide, Mapping):
        _fail("provide", "a mapping of types to values, {Database: database} say", provide)


def make_transport(plugins: PluginManager, name: str, options: Mapping[str, Any]) -> Transport:
    """Create a transport by name. Raises `ExtensionError` if there is none, or if it does not accept the options."""
    make = plugins.transport(name)
    try:
        made: object = make(**options)
    except OddwireError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: {error}"
        raise ExtensionError(f"transport {name!r} does not take these options: {reason}") from error
    if not isinstance(made, Transport):
        raise ExtensionError(f"transport {name!r} should make a Transport, not {made!r}")
    return made


def _check_mapping(name: str, given: object) -> None:
    if given is None:
        return
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        _fail(name, "a mapping of names to values", given)


def _fail(name: str, should: str, given: object, hint: str = "") -> NoReturn:
    raise ExtensionError(f"{name} should be {should}, not {given!r:.200}{hint}")
