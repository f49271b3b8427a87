"""Fences of the docs, `python NAME` and `text typed`, as titled blocks: zensical would take them for no fences."""

from __future__ import annotations

import re
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

_NAMED = re.compile(r"^```(\w+) (\S+)$")
_BEFORE_SUPERFENCES = 30


class _Titles(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        """Return the lines, the word behind a fence's language as the title of its block."""
        return [_NAMED.sub(r'```\1 title="\2"', line) for line in lines]


class TitledFences(Extension):
    """A Markdown extension, `publishing.fences`."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - the library's name
        """Run before fences are read."""
        md.preprocessors.register(_Titles(md), "titled_fences", _BEFORE_SUPERFENCES)


def makeExtension(**options: Any) -> TitledFences:  # noqa: N802 - the library's name
    """Return the extension."""
    return TitledFences(**options)
