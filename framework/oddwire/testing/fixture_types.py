"""Types of pytest's fixtures, for the annotations of authors' tests."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from oddwire.app import Application

__all__ = ["AppPair", "RunApp"]


class RunApp(Protocol):
    """The type of the fixture ``run_app``."""

    def __call__(self, *extensions: object, **keywords: Any) -> AbstractAsyncContextManager[Application]:
        """Run an application of ``extensions`` on the test's network; ``keywords`` are those of `Application`."""
        raise NotImplementedError


class AppPair(Protocol):
    """The type of the fixture ``app_pair``."""

    def __call__(
        self, server: object, client: object = None, /, **keywords: Any
    ) -> AbstractAsyncContextManager[tuple[Application, Application]]:
        """Run two applications, each of an extension or a sequence of them; without ``client`` both run ``server``."""
        raise NotImplementedError
