"""A recording as a picture of a terminal, still or moving. For what is printed line by line; nothing is loaded by it.

rich's own export would fetch a font from elsewhere, and does not move.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from rich.cells import cell_len
from rich.color import blend_rgb
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI as THEME
from rich.text import Text

from publishing.pictures.recording import Recording

_WIDTH, _HEIGHT, _SIZE = 8.4, 18, 14
_MARGIN, _BAR = 14, 30
_HOLD = 6.0  # seconds for which the end is shown, before it begins anew
_PACE = 0.15  # seconds from one line to the next, at least: for eyes
_FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def lines_of(recording: Recording) -> list[tuple[float, str]]:
    """Return each line with the time at which it was whole."""
    found: list[tuple[float, str]] = []
    rest = ""
    for at, text in recording.pieces:
        *whole, rest = (rest + text).split("\n")
        found += [(at, line.rstrip("\r")) for line in whole]
    return [*found, (recording.pieces[-1][0], rest)] if rest.strip() else found


def _paced(lines: list[tuple[float, str]]) -> list[tuple[float, str]]:
    paced: list[tuple[float, str]] = []
    for at, line in lines:
        paced.append((max(at, paced[-1][0] + _PACE) if paced else at, line))
    return paced


def svg(recording: Recording, *, moving: bool = False) -> str:
    """Return the picture, the command above what it printed.

    In a moving one lines come as they came, or slower, so that they can be followed. For who asks for less motion it is
    whole at once.
    """
    lines = _paced([(0.0, f"\x1b[2m$\x1b[0m {recording.title}"), *lines_of(recording)])
    columns = max([cell_len(Text.from_ansi(line).plain) for _, line in lines] + [60])
    width, height = columns * _WIDTH + 2 * _MARGIN, len(lines) * _HEIGHT + _BAR + 2 * _MARGIN
    total = lines[-1][0] + _HOLD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" role="img">',
        f"<title>{escape(recording.title)}</title>",
        f"<style>text{{font:{_SIZE}px {_FONT};white-space:pre}}.b{{font-weight:bold}}.i{{font-style:italic}}",
    ]
    if moving:
        parts.append("@media (prefers-reduced-motion:no-preference){")
        for number, at in enumerate(sorted({at for at, _ in lines})):
            share = 100 * at / total
            parts.append(f"@keyframes k{number}{{0%,{share:.2f}%{{opacity:0}}{share + 0.01:.2f}%,100%{{opacity:1}}}}")
            parts.append(f".t{number}{{animation:k{number} {total:.2f}s step-end infinite}}")
        parts.append("}")
    parts.append("</style>")
    parts.append(f'<rect width="100%" height="100%" rx="8" fill="{THEME.background_color.hex}"/>')
    parts += [f'<circle cx="{20 + 18 * n}" cy="18" r="6" fill="{fill}"/>' for n, fill in enumerate(_LIGHTS)]
    parts.append(
        f'<text x="{width / 2:.0f}" y="23" text-anchor="middle" fill="#a0a0a0">{escape(recording.title)}</text>'
    )
    moments = {at: number for number, at in enumerate(sorted({at for at, _ in lines}))}
    for row, (at, line) in enumerate(lines):
        shown = "".join(_spans(Text.from_ansi(line)))
        if shown:
            group = f' class="t{moments[at]}"' if moving else ""
            parts.append(f'<text y="{_BAR + _MARGIN + _HEIGHT * (row + 0.7):.0f}"{group}>{shown}</text>')
    return "\n".join([*parts, "</svg>\n"])


_LIGHTS = ("#ff5f57", "#febc2e", "#28c840")


def _spans(text: Text) -> Iterator[str]:
    column = 0
    for segment in text.render(Console(width=1000, color_system="truecolor")):
        if segment.control or segment.text == "\n":
            continue
        cells = cell_len(segment.text)
        if segment.text.strip():
            style = segment.style or Style.null()
            kinds = "".join(letter for letter, on in (("b", style.bold), ("i", style.italic)) if on)
            classes = f' class="{" ".join(kinds)}"' if kinds else ""
            yield (
                f'<tspan x="{_MARGIN + column * _WIDTH:.1f}" textLength="{cells * _WIDTH:.1f}" fill="{_fill(style)}"'
                f"{classes}>{escape(segment.text)}</tspan>"
            )
        column += cells


def _fill(style: Style) -> str:
    color = style.color.get_truecolor(THEME) if style.color else THEME.foreground_color
    return blend_rgb(color, THEME.background_color, 0.4).hex if style.dim else color.hex
