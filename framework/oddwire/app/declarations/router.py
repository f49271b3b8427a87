"""`Router`: what one of several modules of an extension declares."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from oddwire.app.declarations.hook_decorators import HookDecorators
from oddwire.app.declarations.message_decorators import MessageDecorators
from oddwire.errors import ExtensionError

__all__ = ["Decorators", "Router"]


class Decorators(MessageDecorators, HookDecorators):
    """All decorators, and `include`."""

    def include(self, router: Router) -> None:
        """Add everything that a `Router` declares, now and later, at this place in the order.

        Raises `ExtensionError` for anything else, and for a router that is included already.
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
        for one in self._declarations:
            if isinstance(one, Router):
                yield one
                yield from one.included()

    def check_included(self, *more: Router) -> None:
        """Raise `ExtensionError` if a router is included twice, with ``more`` in addition to those that are."""
        seen: set[int] = set()
        for router in (*self.included(), *(each for one in more for each in (one, *one.included()))):
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
