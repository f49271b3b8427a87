"""publishing/check.py: what zensical does not look for is found in a built site."""

from __future__ import annotations

from pathlib import Path

import pytest
from publishing.check import faults


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<p>text</p><a href="https://example.org">a link is no load</a>', None),
        ('<script src="https://example.org/a.js"></script>', "page.html loads https://example.org/a.js"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "page.html loads //example.org/a.css"),
        ('<link rel="canonical" href="https://example.org/">', None),
        ('<img src="there.svg"><img src="data:image/png;base64,AA">', None),
        ('<img src="gone.svg">', "page.html loads gone.svg, which is not there"),
        ("<p>a\n## Heading\nb</p>", "page.html shows '## Heading': Markdown that was not read"),
        ("<p>```python\ncode</p>", "page.html shows '```python': Markdown that was not read"),
        ("<pre>## a comment</pre><code>[a][b]</code>", None),
        ('<code class="doc-symbol doc-symbol-module"></code>', "page.html shows a module in the place of a name"),
        ("<p>see [Peer][oddwire.Peer].</p>", "page.html shows '[Peer][oddwire.Peer]': a reference that was not found"),
    ],
)
def test_faults(html: str, fault: str | None, tmp_path: Path) -> None:
    (tmp_path / "there.svg").write_text("<svg/>")
    (tmp_path / "page.html").write_text(f"<html><body>{html}</body></html>")
    assert list(faults(tmp_path)) == ([] if fault is None else [fault])


def test_a_style_that_loads_a_font(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("@font-face{src:url('https://example.org/a.woff2')}b{src:url(data:x)}")
    assert list(faults(tmp_path)) == ["a.css loads https://example.org/a.woff2"]
