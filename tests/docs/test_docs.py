"""The README and the docs are true: every Python block runs, every command is run, what is shown is what comes.

A document is a story, run from top to bottom in a folder of its own:

- ``python NAME`` blocks are written to the file NAME; other ``python`` blocks run, with ``await`` at their top.
- ``sh`` blocks are run line by line. What listens or connects stays up, and so does a node; ``URI`` stands for what
  the last of those printed, ``NODE_ID`` for the first part of that. ``make``, ``git`` and ``pip`` are not run, but what
  they are told to make should be there.
- A ``text`` block right after is what should be printed: every line of it, in that order, whatever else there is.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import os
import re
import shlex
import sys
import types
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from oddwire.app import Hooks

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PATIENCE = 60.0
FENCE = re.compile(r"^```(\w*) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHANGING = [
    (r"\b0[23][0-9a-f]{64}\b", "NODE_ID"),
    (r"\b0[23][0-9a-f]{6}\.\.\.[0-9a-f]{4}\b", "NODE"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"\d+\.\d\d ms", "LATENCY"),
    (r'"(time|latency)": [\d.e-]+', r'"\1": SECONDS'),
    (r"\d+\.\d+s\b", "SECONDS"),
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
        end, before = match.end(), match[1]


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
    """Runs the blocks of one document in ``folder``."""

    def __init__(self, folder: Path, module: types.ModuleType) -> None:
        self.folder = folder
        self.module = module
        self.running: list[Command] = []
        self.last: Command | None = None
        self.uri = "URI"

    async def tell(self, block: Block) -> None:
        match block.language:
            case "python" if block.name:
                (self.folder / block.name).write_text(block.text)
                if block.text.startswith("#!"):
                    (self.folder / block.name).chmod(0o755)
            case "python":
                await self._python(block)
            case "sh":
                for line in block.text.splitlines():
                    await self._command(line)
            case "text" if block.follows == "sh":
                assert self.last is not None
                await self.last.shows(block.text.strip().splitlines())
            case "text" | "toml" | "json":
                pass
            case language:
                raise AssertionError(f"{block}: a block should be python, sh or text, not {language!r}")

    async def _python(self, block: Block) -> None:
        source = "\n" * block.line + block.text
        code = compile(source, str(block.document), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, vars(self.module))
        if inspect.iscoroutine(result):
            await result

    async def _command(self, line: str) -> None:
        line = line.replace("URI", self.uri).replace("NODE_ID", self.uri.partition("@")[0])
        words = shlex.split(line, comments=True)
        if not words:
            return
        if words[0] in ("make", "git", "pip", "cd"):
            self._check(words)
            return
        stays = words[1] == "node" or bool({"--listen", "--connect"} & set(words))
        # The port of the document may be taken here
        words = [re.sub(r"^127\.0\.0\.1:\d+$", "127.0.0.1:0", word) for word in words]
        programs = {"oddwire": ["-m", "oddwire.cli.main"], "python": [], "pytest": ["-m", "pytest"]}
        assert words[0] in programs, f"{words[0]!r} is no command that the docs should need"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *programs[words[0]],
            *words[1:],
            cwd=self.folder,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
        )
        self.last = Command(process)
        if not stays:
            assert await self.last.end() == 0, f"{line}\n" + "\n".join(self.last.lines)
            return
        self.running.append(self.last)
        if {"--listen", "--addr"} & set(words):
            pattern = re.compile(r"0[23][0-9a-f]{64}@[\d.:]+")
            self.uri = (await self.last.until(lambda lines: pattern.search("\n".join(lines)), "a URI"))[0]
        elif words[1] == "node":
            await self.last.until(lambda lines: "".join(lines) or None, "its node id")

    @staticmethod
    def _check(words: list[str]) -> None:
        if words[0] == "make":
            targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words[1:]) <= set(targets), f"the Makefile does not make all of {words[1:]}"


@pytest.fixture
async def story(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Story]:
    """A story in a folder of its own, whose files can be imported; what it started and imported is gone afterwards."""
    module = types.ModuleType(f"story_of_{request.node.callspec.id}".replace(".", "_"))
    before = set(sys.modules)
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(tmp_path))
    story = Story(tmp_path, module)
    yield story
    for command in story.running:
        await command.stop()
    sys.path.remove(str(tmp_path))
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)) or name == module.__name__:
            del sys.modules[name]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
async def test_everything_shown_runs(document: Path, story: Story) -> None:
    for block in blocks_of(document):
        try:
            await story.tell(block)
        except Exception as error:
            raise AssertionError(f"{block}: {error!r}") from error


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = FENCE.sub("", document.read_text())
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" not in target:
            assert (document.parent / target.partition("#")[0]).exists(), f"{document.name} links to {target}"


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
