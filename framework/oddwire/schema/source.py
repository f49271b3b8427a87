"""Write and compile Python source so that tracebacks and debuggers show it."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Source", "compile_function"]


def compile_function(source: str, name: str, names: dict[str, Any], title: str) -> Callable[..., Any]:
    """Run ``source`` with ``names`` as its globals and give back the function ``name`` that it defines.

    ``title`` appears as the file name in tracebacks.
    """
    filename = f"<oddwire {title}>"
    code = compile(source, filename, "exec", dont_inherit=True)
    # Entries without a modification time are never thrown out by linecache.checkcache.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": "oddwire.generated", **names}
    exec(code, namespace)  # noqa: S102 - the source is made by oddwire from names it has checked
    function: Callable[..., Any] = namespace[name]
    return function


class Source:
    """Functions being written: lines, and the objects they mention by name."""

    def __init__(self) -> None:
        self._finished: list[str] = []
        self._lines: list[str] = []
        self._depth = 0
        self._names: dict[str, Any] = {}
        self._by_id: dict[int, str] = {}
        self._serial = 0

    def line(self, text: str) -> None:
        """Write a line at the current depth."""
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """Write ``header``, and what is written inside one level deeper."""
        self.line(header)
        self._depth += 1
        yield
        self._depth -= 1

    @contextmanager
    def function(self, header: str) -> Iterator[None]:
        """Write a function of its own, though another be half written."""
        lines, depth = self._lines, self._depth
        self._lines, self._depth = [], 0
        with self.block(header):
            yield
        self._finished += [*self._lines, ""]
        self._lines, self._depth = lines, depth

    def bind(self, value: object, hint: str) -> str:
        """Return the name under which the functions find ``value``."""
        name = self._by_id.get(id(value))
        if name is None:
            name = self._by_id[id(value)] = self.fresh(f"_{hint}")
            self._names[name] = value  # keeps it alive, so its id stays its own
        return name

    def fresh(self, hint: str) -> str:
        """Make a name not given before."""
        self._serial += 1
        return f"{hint}_{self._serial}"

    def compile(self, name: str, title: str) -> Callable[..., Any]:
        """Compile what was written and give the function ``name``."""
        return compile_function("\n".join(self._finished), name, self._names, title)
