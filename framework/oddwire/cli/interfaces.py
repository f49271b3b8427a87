"""What peers see of an extension that is loaded, or of a known protocol, for `lock`, `check` and `describe`."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING
from typing import Any, Final

from oddwire.app import PluginManager
from oddwire.app.declarations.handlers import Handler, yields
from oddwire.app.declarations.peer_methods import MethodForm
from oddwire.app.extension import Extension
from oddwire.app.plugins.manager import Contribution
from oddwire.app.plugins.tables import build_tables
from oddwire.cli.applications import loading
from oddwire.cli.events import Printer
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.contracts import Interface, Method
from oddwire.schema import Field, Message, schema_of

__all__ = ["KNOWN", "interface_of", "load_interfaces"]

KNOWN: Final = "known:"


def load_interfaces(printer: Printer, specs: Sequence[str]) -> list[Interface]:
    """Return what each EXT of the command line speaks; ``known:NAME`` is a protocol of `oddwire.known`.

    The extensions are imported, checked as `oddwire run` checks them, and not run. Raises `CommandFailure`.
    """
    plugins = PluginManager()
    with loading(printer):
        names = {spec: plugins.load(spec) for spec in dict.fromkeys(specs) if not spec.startswith(KNOWN)}
        found = {one.name: one for one in _interfaces(plugins)} if names else {}
    return [found[names[spec]] if spec in names else _known(spec.removeprefix(KNOWN)) for spec in dict.fromkeys(specs)]


def interface_of(extension: Extension) -> Interface:
    """Return what one extension speaks. Raises `DefinitionError`."""
    plugins = PluginManager()
    name = plugins.register(extension)
    return next(one for one in _interfaces(plugins) if one.name == name)


def _interfaces(plugins: PluginManager) -> Iterator[Interface]:
    tables = build_tables(plugins)
    messages: dict[str, list[type[Message]]] = {}
    for message, owners in tables.claims.items():
        for owner in owners:
            messages.setdefault(owner.name, []).append(message)
    forms: dict[str, list[Method]] = {}
    for message, table in tables.peer_rpcs.items():
        for bound in table.methods.values():
            owner = tables.owners[bound.owner - 1]
            type_id = schema_of(message).type_id
            forms.setdefault(owner.name, []).append(_method(bound.form, type_id))
    for owner in tables.owners:
        yield _interface(owner, messages.get(owner.name, ()), forms.get(owner.name, ()))


def _interface(owner: Contribution, messages: Sequence[type[Message]], methods: Sequence[Method]) -> Interface:
    handlers: Sequence[Handler] = owner.handlers
    module = sys.modules.get(getattr(owner.plugin, "module", ""))
    return Interface(
        name=owner.name,
        version=str(getattr(owner.plugin, "version", "")),
        versions=owner.versions,
        feature=owner.feature,
        peer_feature=owner.peer_feature,
        messages=tuple(sorted(messages, key=lambda cls: schema_of(cls).type_id)),
        reliable=frozenset(one.message for one in handlers if one.reliable),
        streams=frozenset(one.message for one in handlers if yields(one.function)),
        answers={one.message: one.replies() for one in handlers if one.replies()},
        handlers={one.message: inspect.getdoc(one.function) or "" for one in handlers},
        methods=tuple(methods),
        text=inspect.getdoc(module) or "" if module is not None else "",
    )


def _method(form: MethodForm, type_id: int) -> Method:
    method = form.method
    if form.whole is not None:
        params = form.whole.fields
    else:
        given = inspect.signature(method.function).parameters
        params = tuple(_parameter(name, kind, given[name].default) for name, kind in form.kinds.items())
    return Method(
        name=method.name,
        type_id=type_id,
        params=params,
        result=form.result,
        typed=form.typed,
        notification=method.notification,
        by_position=method.by_position,
        record=form.whole,
        text=inspect.getdoc(method.function) or "",
    )


def _parameter(name: str, kind: Any, default: Any) -> Field:
    return Field(name, kind, name, MISSING if default is inspect.Parameter.empty else default, None)


def _known(name: str) -> Interface:
    """Return a protocol of `oddwire.known`. Raises `CommandFailure`."""
    from oddwire.known.listing import modules

    protocols = modules()
    key = name.replace("-", "_").replace(" ", "_").lower()
    found = protocols.get(key) or next((one for one in protocols.values() if one.name.lower() == name.lower()), None)
    if found is None:
        close = difflib.get_close_matches(key, protocols, 1)
        hint = f"did you mean known:{close[0]}?" if close else f"there are: {', '.join(protocols)}"
        raise CommandFailure(f"no known protocol is called {name!r}; {hint}", USAGE)
    carrier = next((one for one in protocols.values() if one.name == found.inside and found.inside), found)
    type_id = next((schema_of(one).type_id for one in carrier.messages), 0)
    return Interface(
        name=found.name,
        version=found.version,
        messages=found.messages,
        methods=tuple(
            Method(
                name=one.name,
                type_id=type_id,
                params=() if one.record is None else one.record.fields,
                result=one.kind,
                record=one.record,
                text=inspect.getdoc(one.params) or "" if one.params is not None else "",
            )
            for one in found.procedures
        ),
        text=inspect.getdoc(sys.modules[f"oddwire.known.{next(k for k, v in protocols.items() if v is found)}"]) or "",
        document=found.document,
    )
