"""setup.py: what an index shows of the README leads somewhere, or is text."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

long_description = runpy.run_path(str(Path(__file__).parents[2] / "setup.py"))["long_description"]
SOURCE = "https://example.org/oddwire"


@pytest.mark.parametrize(
    ("readme", "without", "with_source"),
    [
        ("see [a page](docs/a.md#b).", "see a page.", f"see [a page]({SOURCE}/blob/v1.2/docs/a.md#b)."),
        ("![the demo](docs/a.svg)\n", "\n", f"![the demo]({SOURCE}/raw/v1.2/docs/a.svg)\n"),
        ("[load as\nmessages](a.md)", "load as\nmessages", f"[load as\nmessages]({SOURCE}/blob/v1.2/a.md)"),
        ("[BOLTs](https://example.org)", "[BOLTs](https://example.org)", "[BOLTs](https://example.org)"),
        ("[here](#here)", "[here](#here)", "[here](#here)"),
        (
            "```python\nx[a](b)\n```\n[c](d)",
            "```python\nx[a](b)\n```\nc",
            f"```python\nx[a](b)\n```\n[c]({SOURCE}/blob/v1.2/d)",
        ),
    ],
)
def test_relative_links(readme: str, without: str, with_source: str) -> None:
    assert long_description(readme, "1.2", None) == without
    assert long_description(readme, "1.2", SOURCE) == with_source
