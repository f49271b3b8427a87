"""`Router`: what one of several modules of an extension declares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from oddwire.app.declarations.hook_decorators import HookDecorators
from oddwire.app.declarations.message_decorators import MessageDecorators
from oddwire.errors import ExtensionError

__all__ = ["Decorators", "Router"]


_DEEPEST: Final = 100  # routers in one another


class Decorators(MessageDecorators, HookDecorators):
    """All decorators, and `include`."""

    def include(self, router: Router) -> None:
        """Add everything that a `Router` declares, now and later, at this place in the order.

        Raises `ExtensionError` for anything else, for a router that is included already, and for more than 100 in one
        another.
        """
        given: object = router
        if not isinstance(given, Router):
            hint = "; an extension is loaded beside this one" if isinstance(given, Decorators) else ""
            raise ExtensionError(f"{self!r}: include should be given a Router, not {given!r:.200}{hint}")
        if any(self is one for one in (router, *router.included())):
            raise ExtensionError(f"{self!r}: include({router!r}) would include it in itself")
        self.check_included(router)
        self._declare(router)

    def included(self) -> Iterator[Router]:
        """Iterate over the routers that are included, directly or not."""
        for router, _ in self._nested():
            yield router

    def _nested(self) -> Iterator[tuple[Router, int]]:
        """Iterate over the routers that are included, with how deep each is, from 1 on."""
        path = [iter(self._declarations)]
        while path:
            inner = next((one for one in path[-1] if isinstance(one, Router)), None)
            if inner is None:
                path.pop()
            else:
                yield inner, len(path)
                path.append(iter(inner._declarations))  # noqa: SLF001 - of the same kind

    def check_included(self, *more: Router) -> None:
        """Raise `ExtensionError` if a router is included twice, or too deep, with ``more`` beside those that are."""
        seen: set[int] = set()
        found = [*self._nested()]
        for one in more:
            found += [(one, 1), *((router, 1 + depth) for router, depth in one._nested())]  # noqa: SLF001 - as above
        for router, depth in found:
            if depth > _DEEPEST:
                text = f"is included {depth} deep, by one router in another"
                raise ExtensionError(f"{self!r}: {router!r} {text}; at most {_DEEPEST} may be in one another")
            if id(router) in seen:
                raise ExtensionError(f"{self!r}: {router!r} is included twice; it should be included once")
            seen.add(id(router))


class Router(Decorators):
    """Collects the declarations of a module, for `Extension.include`.

    It has the decorators of an extension, and no name, version, feature bit, ``allow`` or limits. Its functions become
    functions of each extension that includes it; its middleware is around its own handlers, and those of routers that
    it includes, alone.
    """

    def __init__(self) -> None:
        super().__init__(sys._getframe(1).f_globals.get("__name__", "?"))  # noqa: SLF001 - for errors

    def __repr__(self) -> str:
        return f"<Router of {self.module}>"
