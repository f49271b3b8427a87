"""Generated Python source: writing and compiling it so that tracebacks and debuggers show it."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Source", "compile_function"]


def compile_function(source: str, name: str, names: dict[str, Any], title: str) -> Callable[..., Any]:
    """Run ``source`` with ``names`` as its globals, and return the function ``name`` that it defines.

    ``title`` appears as the file name in tracebacks.
    """
    filename = f"<oddwire {title}>"
    code = compile(source, filename, "exec", dont_inherit=True)
    # Entries without a modification time are never dropped by linecache.checkcache.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": "oddwire.generated", **names}
    exec(code, namespace)  # noqa: S102 - the source is made by oddwire from names it has checked
    function: Callable[..., Any] = namespace[name]
    return function


class Source:
    """Functions being generated: lines, and the objects they refer to by name."""

    def __init__(self) -> None:
        self._finished: list[str] = []
        self._last: list[str] = []
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
        """Context manager: write ``header``, and the lines of the ``with`` block one level deeper."""
        self.line(header)
        self._depth += 1
        yield
        self._depth -= 1

    @contextmanager
    def function(self, header: str) -> Iterator[None]:
        """Context manager: write a separate function, even while another one is unfinished."""
        lines, depth = self._lines, self._depth
        self._lines, self._depth = [], 0
        with self.block(header):
            yield
        self._finished += [*self._lines, ""]
        self._lines, self._depth = lines, depth

    def finally_line(self, text: str) -> None:
        """Write a line behind all functions, at their level: it can refer to any of them."""
        self._last.append(text)

    def bind(self, value: object, hint: str) -> str:
        """Return a name by which the functions can refer to ``value``."""
        name = self._by_id.get(id(value))
        if name is None:
            name = self._by_id[id(value)] = self.fresh(f"_{hint}")
            self._names[name] = value  # keeps the value alive, so that its id is not reused
        return name

    def fresh(self, hint: str) -> str:
        """Return a name not used before."""
        self._serial += 1
        if not hint.isidentifier():  # a scalar's name, or a generic class's: Page[Order]
            hint = "".join(letter if letter.isalnum() else "_" for letter in f"_{hint}")
        return f"{hint}_{self._serial}"

    def compile(self, name: str, title: str) -> Callable[..., Any]:
        """Compile the source, and return the function ``name``."""
        return compile_function("\n".join(self._finished + self._last), name, self._names, title)
