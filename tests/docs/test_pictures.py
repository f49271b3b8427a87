"""The pictures of docs/pictures are light, whole, and load nothing; what draws them draws what was printed."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from publishing.pictures.__main__ import MAX_BYTES
from publishing.pictures.recording import Recording, record
from publishing.pictures.terminal_svg import svg

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "docs" / "pictures").iterdir())
PRINTED = Recording("a test", 80, 24, ((0.5, "\x1b[1mbold\x1b[0m <&>\r\nsec"), (1.0, "ond ⚡ line\r\n"), (1.5, "end")))


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_it_is_light_and_loads_nothing(picture: Path) -> None:
    assert picture.stat().st_size <= MAX_BYTES
    if picture.suffix == ".svg":
        assert ET.fromstring(picture.read_text()).tag == "{http://www.w3.org/2000/svg}svg"
        assert not re.search(r"url\((?!#)|href|<script|@import|@font-face", picture.read_text())
    if picture.suffix == ".cast":
        header, *events = map(json.loads, picture.read_text().splitlines())
        assert header["version"] == 2
        assert [at for at, *_ in events] == sorted(at for at, *_ in events)


def test_a_page_shows_each() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))
    assert [picture.name for picture in PICTURES if f"pictures/{picture.name}" not in pages] == []


def texts(drawn: str) -> list[str]:
    texts = [element for element in ET.fromstring(drawn).iter() if element.tag.endswith("}text")]
    return ["".join(element.itertext()) for element in texts]


def test_it_draws_what_was_printed() -> None:
    assert texts(svg(PRINTED)) == ["a test", "$ a test", "bold <&>", "second ⚡ line", "end"]
    assert 'class="b"' in svg(PRINTED)
    assert "@keyframes" not in svg(PRINTED)


def test_lines_of_a_moving_one_come_when_they_were_whole() -> None:
    moving = svg(PRINTED, moving=True)
    assert texts(moving) == texts(svg(PRINTED))
    assert [float(share) for share in re.findall(r"0%,([\d.]+)%\{opacity:0\}", moving)] == [0, 6.67, 13.33, 20]
    assert "prefers-reduced-motion:no-preference" in moving


def test_a_command_is_recorded_at_a_terminal() -> None:
    program = "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size().columns, 'ñ')"
    recording = record([sys.executable, "-c", program], "python", columns=70)
    assert recording.text == "True 70 ñ\r\n"
    header, *events = map(json.loads, recording.to_cast().splitlines())
    assert header == {"version": 2, "width": 70, "height": 40, "title": "python"}
    assert "".join(text for _, _, text in events) == recording.text


def test_a_command_that_fails_gives_no_picture() -> None:
    with pytest.raises(RuntimeError, match="a failure ended with 3"):
        record([sys.executable, "-c", "raise SystemExit(3)"], "a failure")
