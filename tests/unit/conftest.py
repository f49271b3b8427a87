"""Event loops for the tests of what runs on them."""

from __future__ import annotations

import asyncio
import selectors

import pytest

from oddwire.testing import Clock

try:
    import uvloop
except ImportError:  # not on Windows
    uvloop = None

HURRY = 40


class _HurriedSelector(selectors.DefaultSelector):
    """Waits a fraction of the time it is asked to."""

    def select(self, timeout=None):
        return super().select(timeout and timeout / HURRY)


class HurriedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock runs 40 times as fast as the world's: deadlines of seconds pass while a test waits."""

    def __init__(self):
        super().__init__(_HurriedSelector())

    def time(self):
        return super().time() * HURRY


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer whenever there is nothing to do; for tests without sockets."""

    def __init__(self):
        super().__init__()
        self._jumping = Clock()
        self._jumping.jumping = True
        self._jumping.install(self)

    def close(self):
        self._jumping.uninstall()
        super().close()

    async def shutdown_default_executor(self, timeout=None):
        """Wait for its threads without asyncio's limit, which would be over in a jump."""
        await super().shutdown_default_executor()


LOOPS = {"asyncio": asyncio.new_event_loop, "hurried": HurriedLoop, "jumping": JumpingLoop}
if uvloop is not None:
    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(config, item):
    """Run tests on the loops they name, or else on those their module names in ``LOOPS``, or else on asyncio's own."""
    marker = item.get_closest_marker("asyncio")
    if marker is not None and "loop_factories" in marker.kwargs:
        return LOOPS
    names = getattr(item.module, "LOOPS", ("asyncio",))
    return {name: LOOPS[name] for name in names if name in LOOPS}
