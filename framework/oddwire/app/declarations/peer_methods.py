"""JSON-RPC methods and notifications for peers: their functions, checked, and the reading of what callers pass."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple

from oddwire.app.context import Context
from oddwire.app.declarations.annotations import evaluate
from oddwire.app.declarations.handlers import check_context, is_async, kind_of, parameters_of, place
from oddwire.app.declarations.jsonable import to_plain
from oddwire.app.declarations.rpc import check_parameters
from oddwire.app.declarations.rpc_documents import INVALID_PARAMS
from oddwire.errors import ExtensionError, MalformedMessage, RpcError, SchemaError
from oddwire.records import FrozenRecord
from oddwire.schema.annotations import kind_of as carried_kind
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Kind
from oddwire.schema.procedure import Procedure
from oddwire.schema.rules import check_json
from oddwire.schema.tree import JSON, dump, load, load_record

__all__ = ["MethodForm", "PeerMethod", "field_kind", "result_kind"]


class PeerMethod(FrozenRecord, kw_only=True, hidden=("scope",)):
    """One JSON-RPC method, or notification, of an extension for its peers.

    ``function`` is awaited with a `Context` and the caller's parameters, of the types of its annotations; that of a
    ``procedure`` with all of them as one object. With ``by_position`` they may come in order, too. Raises
    `ExtensionError` naming the function, the method and what was expected.
    """

    name: str
    function: Callable[..., Coroutine[Any, Any, Any]]
    notification: bool = False
    by_position: bool = False
    procedure: Procedure[Any, Any] | None = None
    scope: Mapping[str, Any] = types.MappingProxyType({})
    """Names that annotations may use besides the function's globals, for a method made inside another function."""
    provided: tuple[str, ...] = ()
    """Parameters that are found by their type when it is loaded: its callers do not have them."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise self.wrong("its name should be a text, 'lsps0.list_protocols' say")
        if self.name.startswith("rpc."):
            raise self.wrong("JSON-RPC keeps the names that begin with 'rpc.' for itself; another would do")
        if not is_async(self.function):
            raise self.wrong(f"should be 'async def', not {kind_of(self.function)}")
        check_parameters(self.function, (*self.names, *self.provided), self.wrong)

    @property
    def title(self) -> str:
        """What it is, for errors and logs: ``JSON-RPC method 'lsps0.list_protocols'``."""
        return f"JSON-RPC {'notification' if self.notification else 'method'} {self.name!r}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the caller's parameters, without the context and those provided."""
        return tuple(name for name in list(parameters_of(self.function))[1:] if name not in self.provided)

    def annotation(self, name: str) -> Any:
        """Return the type of a parameter, `typing.Any` if it has none. Raises `ExtensionError`."""
        return self._hints((name,), extras=False).get(name, Any)

    def form(self) -> MethodForm:
        """Evaluate the annotations, and return what callers pass and get. Raises `ExtensionError`."""
        found = parameters_of(self.function)
        check_context(self.function, next(iter(found)), Context, self.wrong, self.scope)
        hints = self._hints((*self.names, "return"))
        if self.procedure is not None:
            return self._form_of_procedure(self.procedure, hints)
        kinds, required = {}, []
        for name in self.names:
            try:
                kinds[name] = field_kind(hints.get(name, Any))
            except SchemaError as error:
                raise self.wrong(f"parameter {name!r}: {error}") from None
            if found[name].default is found[name].empty:
                required.append(name)
        returned = hints.get("return", Any)
        if self.notification and returned not in (Any, types.NoneType):
            raise self.wrong("a notification is not answered, so it should return None")
        if returned is Any:
            return MethodForm(self, kinds, (*required,), None, False)
        try:
            return MethodForm(self, kinds, (*required,), result_kind(returned), True)
        except SchemaError as error:
            raise self.wrong(f"its result: {error}") from None

    def _form_of_procedure(self, procedure: Procedure[Any, Any], hints: Mapping[str, Any]) -> MethodForm:
        takes = () if procedure.record is None else (procedure.params.__name__,)
        if len(self.names) != len(takes):
            should = f"the context and {takes[0]}" if takes else "the context alone, and what is provided"
            raise self.wrong(f"should take {should}, as its procedure does")
        for name, right in (*zip(self.names, (procedure.params,), strict=False), ("return", procedure.result)):
            found = hints.get(name, Any)
            if found not in (Any, right) and (found, right) != (types.NoneType, None):
                what = "its result" if name == "return" else f"parameter {name!r}"
                raise self.wrong(f"{what} should be {_named(right)}, as its procedure says, not {_named(found)}")
        fields = () if procedure.record is None else procedure.record.fields
        required = tuple(field.key for field in fields if field.required)
        kinds = {field.key: field.kind for field in fields}
        return MethodForm(self, kinds, required, procedure.kind, True, procedure.record)

    def wrong(self, text: str) -> ExtensionError:
        """Return the error for this method."""
        return ExtensionError(f"{place(self.function)}, {self.title}: {text}")

    def _hints(self, names: tuple[str, ...], *, extras: bool = True) -> dict[str, Any]:
        try:
            return evaluate(self.function, names, self.scope, extras=extras)
        except NameError as error:
            raise self.wrong(str(error)) from None


class MethodForm(NamedTuple):
    """What callers of a method pass, and what they get; made of its annotations."""

    method: PeerMethod
    kinds: Mapping[str, Kind]
    required: tuple[str, ...]
    result: Kind | None
    """The kind of the result; None for null, or if it is not ``typed``."""
    typed: bool
    whole: Record | None = None
    """What the function takes in place of its parameters one by one: all of them as fields of this."""

    def read(self, params: Any) -> dict[str, Any]:
        """Return the arguments, by name, for what a caller passes. Raises `RpcError`, -32602.

        Its data names the parameters that the method does not have, as bLIP-50 wants it, and the first that is wrong,
        as bLIP-51 does.
        """
        given = self._by_name(params)
        if unknown := [name for name in given if name not in self.kinds]:
            has = ", ".join(self.kinds) or "none"
            raise _invalid(f"there is no parameter {unknown[0]!r:.100}; there are: {has}", unknown[0], unknown)
        for name in self.required:
            if name not in given:
                raise _invalid(f"{name} is missing", name)
        try:
            if self.whole is not None:
                return {self.method.names[0]: load_record(self.whole, given, JSON, "$.params")}
            return {name: load(self.kinds[name], value, JSON, f"$.params.{name}") for name, value in given.items()}
        except MalformedMessage as error:
            name = error.path.removeprefix("$.params.")
            raise _invalid(f"{name}: {error.args[0]}", name) from None

    def _by_name(self, params: Any) -> Mapping[str, Any]:
        if type(params) is dict:
            return params
        if type(params) is not list:
            raise _invalid("params should be an object")
        if not self.method.by_position:
            raise _invalid("params should be an object, with parameters by their names, not a list")
        if len(params) > len(self.kinds):
            raise _invalid(f"there are {len(params)} parameters; there should be {len(self.kinds)} at most")
        return dict(zip(self.kinds, params, strict=False))

    def write(self, result: object) -> Any:
        """Return a result as JSON has it. Raises `EncodeError` or `TypeError`."""
        if not self.typed:
            return to_plain(result)
        if self.result is None:
            if result is not None:
                raise TypeError(f"{self.method.title} should return None, as its annotation says, not {result!r:.200}")
            return None
        return dump(self.result, result, JSON, "$.result")


def field_kind(annotation: Any) -> Kind:
    """Return the kind of a parameter's type, which JSON can carry. Raises `SchemaError`."""
    kind = carried_kind(annotation)
    check_json(kind)
    return kind


def result_kind(annotation: Any) -> Kind | None:
    """Return the kind of a result's type; None for null. Raises `SchemaError`."""
    return None if annotation in (None, types.NoneType) else field_kind(annotation)


def _named(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or repr(annotation)


def _invalid(text: str, name: str = "", unrecognized: list[str] | None = None) -> RpcError:
    data: dict[str, Any] = {"unrecognized": unrecognized or []}
    if name:
        data |= {"property": name, "message": text}
    return RpcError(INVALID_PARAMS, f"Invalid params: {text}", data)
