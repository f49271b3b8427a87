"""`Procedure`: a JSON-RPC method as both of its ends know it, for `oddwire.app.PeerRpc`."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from oddwire.errors import SchemaError
from oddwire.schema.annotations import kind_of
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Kind, Nested
from oddwire.schema.rules import check_json
from oddwire.schema.tree import JSON, dump, dump_record, load, load_record

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["Procedure"]

P = TypeVar("P")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")


class Procedure(Generic[P, R]):
    """A JSON-RPC method: its name, its parameters, and its result.

    ``params`` is a subtype whose fields are the parameters by name; without it there are none. ``result`` is a type as
    for a message's field; without it the result is null. A server's function and a client's call both take them from
    here, `PeerRpc.method` and `PeerRpc.call`, and type checkers hold them to it. Raises `SchemaError` for what is no
    subtype, and for a type that JSON cannot hold.
    """

    __slots__ = ("_kind", "_record", "name", "params", "result")

    @overload
    def __init__(self, name: str, *, params: type[P], result: type[R]) -> None: ...

    @overload
    def __init__(self, name: str, *, params: type[P], result: TypeForm[R]) -> None: ...

    @overload
    def __init__(self: Procedure[A, None], name: str, *, params: type[A]) -> None: ...

    @overload
    def __init__(self: Procedure[None, B], name: str, *, result: type[B]) -> None: ...

    @overload
    def __init__(self: Procedure[None, B], name: str, *, result: TypeForm[B]) -> None: ...

    @overload
    def __init__(self: Procedure[None, None], name: str) -> None: ...

    def __init__(self, name: str, *, params: Any = None, result: Any = None) -> None:
        if not isinstance(name, str) or not name:
            raise SchemaError(f"a procedure's name should be a text, 'lsps0.list_protocols' say, not {name!r:.100}")
        record = getattr(params, "__oddwire__", None)
        if params is not None and not isinstance(record, Record):
            raise SchemaError(f"procedure {name!r}: params should be a class under @subtype, not {params!r:.100}")
        self.name = name
        self.params: type[P] = cast("type[P]", params)
        self.result: Any = result
        self._record = record
        try:
            self._kind = None if result in (None, NoneType) else kind_of(result)
            if self._kind is not None:
                check_json(self._kind)
        except SchemaError as error:
            raise SchemaError(f"procedure {name!r}: its result: {error}") from None
        if record is not None:
            check_json(Nested(record))

    @property
    def record(self) -> Record | None:
        """The fields of the parameters; None if there are none."""
        return self._record

    @property
    def kind(self) -> Kind | None:
        """The kind of the result; None for null."""
        return self._kind

    def load_params(self, plain: Mapping[str, Any]) -> P:
        """Return the parameters for what JSON holds. Unknown keys are ignored. Raises `MalformedMessage`."""
        made: P = None if self._record is None else load_record(self._record, plain, JSON, "$.params")  # type: ignore[assignment]
        return made

    def dump_params(self, params: P) -> dict[str, Any]:
        """Return parameters as JSON holds them. Raises `EncodeError`."""
        return {} if self._record is None else dump_record(self._record, params, JSON, "$.params")

    def load_result(self, plain: Any) -> R:
        """Return the result for what JSON holds. Unknown keys are ignored. Raises `MalformedMessage`."""
        made: R = None if self._kind is None else load(self._kind, plain, JSON, "$.result")  # type: ignore[assignment]
        return made

    def dump_result(self, result: R) -> Any:
        """Return a result as JSON holds it. Raises `EncodeError`."""
        return None if self._kind is None else dump(self._kind, result, JSON, "$.result")

    def __repr__(self) -> str:
        params = "" if self._record is None else self._record.name
        result = self.result.__name__ if isinstance(self.result, type) else repr(self.result)
        return f"<Procedure {self.name}({params}) -> {result}>"
