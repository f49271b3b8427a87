"""The files of a new project, made from the templates beside this module."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path, PurePosixPath
from string import Template
from typing import Final, NamedTuple

from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.new_names import distribution_of, last_of, package_of
from oddwire.printable import printable

__all__ = ["CODECS", "Project", "render", "write"]

CODECS: Final = ("msgpack", "bolt", "json")
"""What may carry the messages of a new project."""

_MAP_GROWTH: Final = """A field with a
default can be added at any time: who does not know it skips it, who does not send it means the default."""
_GROWTH: Final = {
    "msgpack": _MAP_GROWTH,
    "json": _MAP_GROWTH,
    "bolt": """A field that is
added later should be a TLV record of an odd number, `field(tlv=1, default=None)`: who does not know it skips it.""",
}
_CARRIED: Final = {
    "msgpack": "msgpack, a map by field names",
    "json": "JSON, an object by field names",
    "bolt": "BOLT 1's wire format, one field after the other",
}
# The messages of the generated test, behind their type numbers
_COUNT: Final = {
    "msgpack": '"{} 81 a474657874 a974776f20776f726473"',
    "bolt": '"{} 0009 74776f20776f726473"',
    "json": """bytes.fromhex("{}") + b'{{"text":"two words"}}'""",
}
_COUNTED: Final = {
    "msgpack": '"{} 82 a5776f726473 02 aa63686172616374657273 09"',
    "bolt": '"{} 00000002 00000009"',
    "json": """bytes.fromhex("{}") + b'{{"words":2,"characters":9}}'""",
}


class Project(NamedTuple):
    """What a new project is to be. ``first`` is its first type number, ``oddwire`` the version it needs at least."""

    name: str
    codec: str
    first: int
    oddwire: str
    feature: int | None = None
    plugin: bool = False

    @property
    def package(self) -> str:
        """The import package."""
        return package_of(self.name)


def render(project: Project) -> dict[str, str]:
    """Return the files by their paths in the project's folder; an executable one begins with ``#!``."""
    values = _values(project)
    values["plugin_part"] = _filled("README-reckless.md" if project.plugin else "README-core-lightning.md", values)
    source = f"src/{project.package}"
    made = {
        "README.md": "README.md",
        "pyproject.toml": "pyproject.toml",
        ".gitignore": "gitignore",
        ".github/workflows/ci.yml": "ci.yml",
        f"{source}/__init__.py": "extension.py",
        f"{source}/messages.py": "messages.py",
        f"tests/test_{project.name.replace('-', '_')}.py": "test_extension.py",
    }
    if project.plugin:
        made |= {
            f"{project.name}.py": "plugin.py",
            "requirements.txt": "requirements.txt",
            "manifest.json": "manifest.json",
            "tests/test_plugin.py": "test_plugin.py",
        }
    found = {path: _filled(template, values) for path, template in made.items()}
    found[f"{source}/py.typed"] = ""
    return dict(sorted(found.items()))


def _values(project: Project) -> dict[str, str]:
    request, reply = f"{project.first:04x}", f"{project.first + 2:04x}"
    checked = ["src", "tests", *([f"{project.name}.py"] if project.plugin else [])]
    reckless_feature = ""
    if project.feature is not None:
        reckless_feature = (
            f" As lightningd announces feature bits when it starts, stop it before, and start it\nafter: "
            f"{project.name} has the bit {project.feature}, and is refused while the node runs."
        )
    return {
        "name": project.name,
        "package": project.package,
        "distribution": distribution_of(project.name),
        "requirement": "oddwire" if project.oddwire == "unknown" else f"oddwire>={project.oddwire}",
        "codec": _CARRIED[project.codec],
        "codec_argument": "" if project.codec == "msgpack" else f', codec="{project.codec}"',
        "feature_argument": "" if project.feature is None else f", feature={project.feature}",
        "growth": _GROWTH[project.codec],
        "request_type": f"0x{request.upper()}",
        "reply_type": f"0x{reply.upper()}",
        "first_type": f"0x{request.upper()}",
        "last_type": f"0x{last_of(project.first):04X}",
        "request_hex": request,
        "request_wire": _COUNT[project.codec].format(request),
        "reply_wire": _COUNTED[project.codec].format(reply),
        "checked": ", ".join(f'"{each}"' for each in checked),
        "reckless_feature": reckless_feature,
    }


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = (files("oddwire.cli") / "templates" / f"{template}.in").read_text("utf-8")
    return Template(text).substitute(values)


def write(folder: Path, found: Mapping[str, str]) -> None:
    """Write a project's files into a folder, which is made, or is empty but for ``.git``.

    Nothing is overwritten; of a project that cannot be written whole, nothing is left. Raises `CommandFailure`.
    """
    shown = printable(str(folder))
    _check_free(folder, shown)
    made: list[Path] = []
    try:
        for path, text in found.items():
            file = folder.joinpath(*PurePosixPath(path).parts)
            _make_folders(file.parent, made)
            with file.open("x", encoding="utf-8") as stream:
                made.append(file)
                stream.write(text)
            if text.startswith("#!"):
                file.chmod(file.stat().st_mode | (file.stat().st_mode & 0o444) >> 2)  # whoever may read it may run it
    except BaseException as error:
        for each in reversed(made):
            with contextlib.suppress(OSError):
                each.rmdir() if each.is_dir() else each.unlink()
        if isinstance(error, OSError):
            raise CommandFailure(f"{shown} cannot be written: {error.strerror or error}", FAILED) from error
        raise


def _make_folders(folder: Path, made: list[Path]) -> None:
    missing = [folder]
    while not os.path.lexists(missing[-1].parent):
        missing.append(missing[-1].parent)
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):
            each.mkdir()
            made.append(each)


def _check_free(folder: Path, shown: str) -> None:
    """Raise `CommandFailure` if something is in the way."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise CommandFailure(f"{shown} is there already, and no folder; --path DIR makes it elsewhere", USAGE)
    try:
        there = sorted({entry.name for entry in folder.iterdir()} - {".git"}) if folder.is_dir() else []
    except OSError as error:
        raise CommandFailure(f"{shown} cannot be read: {error.strerror or error}", FAILED) from error
    if there:
        names = ", ".join(map(printable, there[:5])) + (f" and {len(there) - 5} more" if len(there) > 5 else "")
        raise CommandFailure(
            f"{shown} is not empty, and nothing in it is overwritten: there is {names}; move that away, or --path DIR "
            "makes it elsewhere",
            USAGE,
        )
