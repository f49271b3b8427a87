"""The README and the docs are true: every Python block runs, every command is run, what is shown is what comes.

A document is a story, run from top to bottom in a folder of its own, word for word, as who copies it would:

- ``python NAME``, ``toml NAME`` and ``json NAME`` blocks are written to the file NAME; other ``python`` blocks are
  programs, and run as such.
- ``diff NAME`` blocks change the file NAME: lines with ``-`` and a blank in front should be there, once, and those with
  ``+`` and a blank are there afterwards.
- ``sh`` blocks are run line by line, by sh. What listens or connects stays up, and so does a node; ``URI`` stands for
  what the last of those printed, ``NODE_ID`` for the first part of that, ports 9735 and 9736 for free ones. A cluster's
  broker is at a free port, too; ``BROKER`` stands for its URL. After
  ``cd``, everything is in that folder. ``make``, ``git``, ``pip`` and ``.`` are not run, but what they are told to make
  should be there. Pages of `FRESH` are for who has nothing yet: test_fresh_environment.py runs them, with ``pip``.
- ``text typed`` blocks are typed at the command that was started last, when it is connected.
- A ``text`` block right after one of these is what should be printed: every line of it, in that order, whatever else
  there is.
- ``js`` blocks are not run: tests/interop has programs of the same kind. Nor are ``ini`` and ``dockerfile`` blocks:
  tests/docs/test_running.py looks at those of running.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from oddwire.app import Hooks

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FRESH = [ROOT / "docs" / name for name in ("install.md", "new.md", "tutorial.md", "path.md")]
PAGES = sorted({*ROOT.glob("*.md"), *DOCUMENTS})
PLACEHOLDERS = ("framework/oddwire/a/b.py", "tests/unit/a/test_b.py", "tests/test_tally.py")
COMMANDS = ("oddwire", "python", "python3", "pip", "pytest", "chmod", "mkdir", "cp")
PATIENCE = 180.0
FENCE = re.compile(r"^```(\w*) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHANGING = [
    (r"\b0[23][0-9a-f]{64}\b", "NODE_ID"),
    (r"\b0[23][0-9a-f]{6}\.\.\.[0-9a-f]{4}\b", "NODE"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"\d+\.\d\d ms", "LATENCY"),
    (r'"(time|latency)": [\d.e-]+', r'"\1": SECONDS'),
    (r"\d+\.\d+s\b", "SECONDS"),
    (r"#token=[\w-]+", "#token=TOKEN"),
]

T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    document: Path
    line: int
    language: str
    name: str
    text: str
    follows: str
    """The language of the block before, if nothing but white space is between."""

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def blocks_of(document: Path) -> Iterator[Block]:
    text, end, before = document.read_text(), 0, ""
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        follows = before if not text[end : match.start()].strip() else ""
        yield Block(document, line, match[1], match[2], match[3], follows)
        end, before = match.end(), "typed" if match[2] == "typed" else match[1]


def plain(text: str) -> str:
    """Put a word in the place of what is different in every run."""
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return " ".join(text.split())


class Command:
    """A command of the document, with what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._more = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))
            self._more.set()
        await self.process.wait()
        self._more.set()

    async def until(self, found: Callable[[list[str]], T | None], wanted: str) -> T:
        """Wait until what it has printed gives something."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not self._reading.done() and found(self.lines) is None:
                    self._more.clear()
                    await self._more.wait()
        result = found(self.lines)
        printed = "\n".join(self.lines)
        assert result is not None, f"{wanted} did not come; there came:\n{printed}"
        return result

    async def shows(self, expected: list[str]) -> None:
        """Wait until it has printed all of these lines, in this order."""

        def found(lines: list[str]) -> bool | None:
            printed = iter([plain(line) for line in lines])
            return all(plain(line) in printed for line in expected) or None

        await self.until(found, "\n".join(expected))

    async def end(self) -> int:
        async with asyncio.timeout(PATIENCE):
            await self._reading
        return self.process.returncode

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        assert await self.end() == 0, "\n".join(self.lines)


class Story:
    """Runs the blocks of one document in ``folder``, with the Python and the commands of a folder."""

    def __init__(self, folder: Path, commands: Path = Path(sys.executable).parent) -> None:
        self.folder = folder
        self.bin = commands
        self.environment = dict(os.environ)
        self.running: list[Command] = []
        self.last: Command | None = None
        self.uri = "URI"
        self.broker = "BROKER"

    async def tell(self, block: Block) -> None:
        match block.language:
            case "python" | "toml" | "json" if block.name:
                # The port of the document may be taken here
                text = block.text.replace("127.0.0.1:9735", "127.0.0.1:0") if block.language == "toml" else block.text
                (self.folder / block.name).write_text(text)
            case "python":
                self.last = await self._start(str(self.bin / "python"), "-W", "error", "-c", block.text)
                assert await self.last.end() == 0, "\n".join(self.last.lines)
            case "diff":
                self._change(self.folder / block.name, block.text.splitlines())
            case "sh":
                for line in block.text.splitlines():
                    await self._command(line)
            case "text" if block.name == "typed":
                assert self.last is not None
                await self.last.until(lambda lines: any("connected" in line for line in lines) or None, "a peer")
                for line in block.text.splitlines():
                    self.last.process.stdin.write(f"{self._filled(line)}\n".encode())
            case "text" if block.follows in ("sh", "typed"):
                assert self.last is not None
                await self.last.shows(block.text.strip().splitlines())
            case "text" | "toml" | "json" | "js" | "ini" | "dockerfile":
                pass
            case language:
                raise AssertionError(f"{block}: a block should be python, sh, diff or text, not {language!r}")

    @staticmethod
    def _change(file: Path, lines: list[str]) -> None:
        before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
        after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
        text = file.read_text()
        assert text.count(before) == 1, f"{file.name} should have once what is to be changed:\n{before}"
        file.write_text(text.replace(before, after))

    def _filled(self, line: str) -> str:
        line = line.replace("URI", self.uri).replace("NODE_ID", self.uri.partition("@")[0])
        return line.replace("BROKER", self.broker)

    async def _start(self, *command: str) -> Command:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env={**self.environment, "PATH": f"{self.bin}{os.pathsep}{self.environment['PATH']}"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
        )
        return Command(process)

    async def _command(self, line: str) -> None:
        line = self._filled(line)
        words = shlex.split(line, comments=True)
        if not words:
            return
        if words[0] == "cd":
            self.folder = self.folder / words[1]
            return
        if self._is_told(words):
            return
        assert words[0] in COMMANDS, f"{words[0]!r} is no command that the docs should need"
        stays = words[0] == "oddwire" and (
            words[1] == "node" or bool({"--listen", "--connect", "--config"} & set(words))
        )
        stays = stays and "--show-config" not in words
        # The ports of the document may be taken here
        if words[:2] == ["oddwire", "cluster"]:
            line += " --broker-listen 127.0.0.1:0"
        self.last = await self._start(
            "/bin/sh", "-c", "exec " + re.sub(r"(?<=[ /])127\.0\.0\.1:973[56]\b", "127.0.0.1:0", line)
        )
        if not stays:
            assert await self.last.end() == 0, f"{line}\n" + "\n".join(self.last.lines)
            return
        self.running.append(self.last)
        if {"--listen", "--addr", "--config"} & set(words):
            pattern = re.compile(r"0[23][0-9a-f]{64}@[\d.:]+")
            self.uri = (await self.last.until(lambda lines: pattern.search("\n".join(lines)), "a URI"))[0]
            if words[1] == "cluster":
                pattern = re.compile(r"nats://[\d.:]+\d")
                self.broker = (await self.last.until(lambda lines: pattern.search("\n".join(lines)), "a broker"))[0]
        elif words[1] == "node":
            # Not just any line: with asyncio's debug mode a busy machine has warnings printed before
            await self.last.until(lambda lines: re.search(r"0[23][0-9a-f]{64}", "".join(lines)), "its node id")

    def _is_told(self, words: list[str]) -> bool:
        """Return whether a command is only shown here, and need not be run."""
        if words[0] == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words[1:]) <= set(targets), f"the Makefile does not make all of {words[1:]}"
        return words[0] in ("make", "git", "pip", ".")


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    """A story in a folder of its own; what it started is ended afterwards."""
    story = Story(tmp_path)
    yield story
    for command in story.running:
        await command.stop()


@pytest.mark.parametrize(
    "document", [page for page in DOCUMENTS if page not in FRESH], ids=lambda document: document.name
)
async def test_everything_shown_runs(document: Path, story: Story) -> None:
    for block in blocks_of(document):
        try:
            await story.tell(block)
        except Exception as error:
            raise AssertionError(f"{block}: {error!r}") from error


def anchors(document: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.+?) *$", FENCE.sub("", document.read_text()), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = sum(re.sub(r"-\d+$", "", other) == anchor for other in found)
        found.append(f"{anchor}-{number}" if number else anchor)
    return {*found}


@pytest.mark.parametrize("document", PAGES, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = FENCE.sub("", document.read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^]]+\]: *(\S+)", text, re.MULTILINE)
    for target in targets:
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path) if path else document
        assert there.exists(), f"{document.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{document.name} links to {target}; there are {sorted(anchors(there))}"


def test_pages_name_files_that_are_there() -> None:
    """What is named by its place in the repository, in backticks, is there."""
    for document in PAGES:
        for name in re.findall(r"`((?:framework|extensions|tests|docs|benchmarks)/[\w./-]*)`", document.read_text()):
            assert name in PLACEHOLDERS or (ROOT / name).exists(), f"{document.name} names {name}"


def test_files_of_one_name_are_one_file() -> None:
    """Who follows two pages in one folder overwrites nothing of the first by something else."""
    files: dict[str, Block] = {}
    for document in DOCUMENTS:
        for block in blocks_of(document):
            if block.language == "python" and block.name:
                other = files.setdefault(block.name, block)
                assert other.text == block.text, f"{block.name} is one thing in {other} and another in {block}"


@pytest.mark.parametrize(
    ("page", "programs"),
    [
        ("README.md", False),
        ("docs/tutorial.md", False),
        ("docs/between-messages.md", False),
        ("docs/peerswap.md", False),
        ("docs/lsps.md", True),  # its programs, too: who writes a wallet reads fields of its orders
    ],
)
def test_what_is_shown_first_passes_strict_type_checks(page: str, programs: bool, tmp_path: Path) -> None:
    files = []
    for block in blocks_of(ROOT / page):
        if block.language == "python" and (block.name or programs) and not block.name.startswith("test_"):
            files.append(tmp_path / (block.name or f"program_of_line_{block.line}.py"))
            files[-1].write_text(block.text)
    assert files
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *map(str, files)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_the_tree_in_the_readme_is_there() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in re.findall(r"^  ((?:\w+/ ?)+)", readme, re.MULTILINE):
        for part in name.split():
            assert (ROOT / "framework" / "oddwire" / part).is_dir(), part


def test_every_command_and_option_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    source = "".join(path.read_text() for path in (ROOT / "framework" / "oddwire" / "cli").glob("*.py"))
    options = set(re.findall(r'typer\.Option\(\s*"(--[\w-]+)"', source))
    assert len(options) >= 10
    assert {option for option in options if f"`{option}" not in text} == set()


def test_every_hook_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "extending.md").read_text()
    assert {name for name in vars(Hooks) if not name.startswith("_") and f"`{name}" not in text} == set()
