"""What pyproject.toml cannot say: the README as a package index shows it, where relative links would lead nowhere.

They lead to the repository once ``[project.urls]`` names it as ``Source``; until then there is only their text.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:[^][]|\[[^]]*\])*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")


def long_description(readme: str, version: str, source: str | None) -> str:
    """Return a README with its relative links made absolute, or taken out where no repository is known."""

    def link(match: re.Match[str]) -> str:
        image, text, target = match.groups()
        if source is None:
            return "" if image else text
        return f"{image}[{text}]({source}/{'raw' if image else 'blob'}/v{version}/{target})"

    parts, end = [], 0
    for fence in _FENCE.finditer(readme):  # code is left as it is
        parts += [_LINK.sub(link, readme[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(link, readme[end:])])


if __name__ == "__main__":
    setup(
        long_description=long_description(
            (ROOT / "README.md").read_text(encoding="utf-8"), PROJECT["version"], PROJECT.get("urls", {}).get("Source")
        ),
        long_description_content_type="text/markdown",
    )
