"""Look through a built site for what zensical does not look for: whatever a page would load from elsewhere, raw text.

``python -m publishing.check site``
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

_LOADS = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
}


class _Page(HTMLParser):
    """Collects what a page loads, its elements' classes, and its text outside of code."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.classes: set[str] = set()
        self.text: list[str] = []
        self._code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        values = dict(attrs)
        self._code += tag in ("pre", "code", "script", "style")
        if tag in _LOADS and values.get("rel") not in ("canonical", "prev", "next", "alternate"):
            self.loads.append(values.get(_LOADS[tag]) or "")
        self.classes.update((values.get("class") or "").split())

    def handle_endtag(self, tag: str) -> None:
        """Note its end."""
        self._code -= tag in ("pre", "code", "script", "style")

    def handle_data(self, data: str) -> None:
        """Note text."""
        if not self._code:
            self.text.append(data)


def faults(site: Path) -> Iterator[str]:
    """Return what is wrong, a line each."""
    for file in sorted(site.rglob("*.html")):
        page = _Page()
        page.feed(file.read_text(encoding="utf-8"))
        where = file.relative_to(site)
        for target in page.loads:
            if re.match(r"(\w+:)?//", target):
                yield f"{where} loads {target}"
            elif target and not target.startswith("data:") and where.name != "404.html":
                there = file.parent / target.partition("?")[0].partition("#")[0]
                if not there.exists():
                    yield f"{where} loads {target}, which is not there"
        if "doc-symbol-module" in page.classes and where.as_posix() != "reference/known.html":
            yield f"{where} shows a module in the place of a name"
        text = "".join(page.text)
        for raw in re.findall(r"^(?:```.*|#{2,} .*|::: .*)$", text, re.MULTILINE):
            yield f"{where} shows {raw!r}: Markdown that was not read"
        for raw in re.findall(r"\[[^]\n]+\]\[[\w.]*\]", text):
            yield f"{where} shows {raw!r}: a reference that was not found"
    for style in site.rglob("*.css"):
        for target in re.findall(r"url\([\"']?(https?://[^)\"']+)", style.read_text(encoding="utf-8")):
            yield f"{style.relative_to(site)} loads {target}"


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    print(*found, sep="\n")
    sys.exit(bool(found))
