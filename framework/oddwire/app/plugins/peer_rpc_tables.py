"""JSON-RPC methods of all extensions by message type, put together when the plugins are."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from oddwire.app.declarations.handlers import place
from oddwire.app.declarations.peer_methods import MethodForm
from oddwire.errors import ExtensionError
from oddwire.records import FrozenRecord
from oddwire.schema import Message

if TYPE_CHECKING:
    from oddwire.app.declarations.rpc_documents import RpcDocument
    from oddwire.app.plugins.injection import Injector
    from oddwire.app.plugins.manager import Contribution

__all__ = ["BoundPeerMethod", "RpcTable", "rpc_tables"]


class BoundPeerMethod(NamedTuple):
    """A method of a loaded extension; ``owner`` counts from 1, ``run`` is called with a context and the arguments."""

    owner: int
    form: MethodForm
    run: Callable[..., Coroutine[Any, Any, Any]]
    middleware: tuple[Callable[..., Any], ...] = ()


class RpcTable(FrozenRecord):
    """The methods and notifications of one message type, by name, and the names of the extensions that use it."""

    message: type[RpcDocument]
    methods: Mapping[str, BoundPeerMethod]
    owners: Mapping[str, int]

    @property
    def serves(self) -> bool:
        """Whether there is a method: without one, requests are not answered, not even by an error."""
        return any(not bound.form.method.notification for bound in self.methods.values())


def rpc_tables(owners: Sequence[Contribution], injector: Injector | None) -> Mapping[type[Message], RpcTable]:
    """Return the table of each type. Raises `ExtensionError` for two methods of one name, naming both."""
    users: dict[type[RpcDocument], dict[str, int]] = {}
    methods: dict[type[RpcDocument], dict[str, BoundPeerMethod]] = {}
    outer = [middleware for owner in owners for middleware in owner.middlewares]
    for number, owner in enumerate(owners, 1):
        around = tuple(
            one.function if injector is None else injector.bound(owner.name, one.function, 3)
            for one in (*outer, *owner.rpc_middlewares)
        )
        for rpc in owner.peer_rpcs:
            users.setdefault(rpc.message, {})[owner.name] = number
            known = methods.setdefault(rpc.message, {})
            for name, declared in rpc.methods.items():
                method = declared if injector is None else injector.peer_method(declared)
                run = method.function if injector is None else injector.bound(owner.name, method.function, 1)
                before = known.setdefault(name, BoundPeerMethod(number, method.form(), run, around))
                if before.form.method is not method:
                    other = f"{place(before.form.method.function)} of {owners[before.owner - 1].name!r}"
                    raise ExtensionError(
                        f"{method.title} of type {rpc.type_id} is both {other} and {place(method.function)} of "
                        f"{owner.name!r}; it should be one of them"
                    )
    return MappingProxyType({message: RpcTable(message, methods[message], names) for message, names in users.items()})
