"""Imports point down: the floors of docs/architecture.md, checked on the source."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FRAMEWORK = ROOT / "framework"
EXTENSIONS = ROOT / "extensions"
SAMPLES = EXTENSIONS / "oddwire_extensions"

# The longest prefix of a module's name says on which floor it is.
FLOORS = {
    "oddwire.clocks": 0,
    "oddwire.durations": 0,
    "oddwire.exit_exceptions": 0,
    "oddwire.errors": 0,
    "oddwire.files": 0,
    "oddwire.lazy": 0,
    "oddwire.log_format": 0,
    "oddwire.log_limits": 0,
    "oddwire.printable": -1,  # errors tell what others said
    "oddwire.records": 0,
    "oddwire.sqlite_files": 1,
    "oddwire.version": 0,
    "oddwire.proto": 1,
    "oddwire.proto.connection": 2,
    "oddwire.proto.dialing": 2,
    "oddwire.proto.sharing": 2,
    "oddwire.proto.accepting": 2,
    "oddwire.proto.serving": 2,
    "oddwire.proto.websocket": 2,
    "oddwire.proto.wire": 2,
    "oddwire.insight": 3,
    "oddwire.jsonrpc": 2,
    "oddwire.schema": 2,
    "oddwire.codecs": 3,
    "oddwire.known": 4,
    "oddwire.contracts": 4,
    "oddwire.transports": 3,
    "oddwire.session": 4,
    "oddwire.node": 4,
    "oddwire.app": 5,
    "oddwire.cluster": 6,
    "oddwire.decoding": 5,
    "oddwire.monitor": 6,
    "oddwire.testing": 7,
    "oddwire.cli": 8,
    "oddwire": 9,
}
PUBLIC = {"oddwire", *(f"oddwire.{name}" for name in ("app", "errors", "schema", "session", "testing", "transports"))}
FRONTS = {"oddwire.proto"}  # the package itself shows all of its floors, its modules lie on theirs
PURE_OF_SESSION = (
    "constants",
    "limits",
    "peer.link_states",
    "peer.reassembly",
    "peer.request_tables",
    "reliable.lanes",
    "reliable.receivers",
    "wire",
)
PURE = (
    "oddwire.durations",
    "oddwire.errors",
    "oddwire.lazy",
    "oddwire.printable",
    "oddwire.records",
    "oddwire.proto",
    "oddwire.schema",
    "oddwire.codecs",
    "oddwire.known",
    "oddwire.decoding",
    "oddwire.contracts",
)
PURE += tuple(f"oddwire.session.{name}" for name in PURE_OF_SESSION)
IMPURE = tuple(
    f"oddwire.proto.{name}"
    for name in ("accepting", "connection", "dialing", "serving", "sharing", "websocket", "wire")
)
WORLDLY = {"asyncio", "datetime", "os", "random", "secrets", "select", "selectors", "socket", "subprocess", "threading"}
WORLDLY |= {"time", "uuid"}
VALUES = {  # classes of values: no clock is read
    ("oddwire.known.lightningos", "datetime"),
    ("oddwire.schema.standard_scalars", "datetime"),
}
APART = {
    ("oddwire.transports", "oddwire.schema"),
    ("oddwire.transports", "oddwire.codecs"),
    ("oddwire.app", "oddwire.node"),
}
EXTRAS = {"commando": ("runes",)}
"""What extensions need that is no dependency of oddwire: an extra of pyproject.toml that is called as they are."""
# extension.run() turns an author's script into the program: it imports the command line, or what runs under lightningd,
# when it is called.
ALLOWED = {("oddwire.app.extension", "oddwire.cli.run"), ("oddwire.app.extension", "oddwire.app.lightningd")}


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path, FRAMEWORK): path for path in FRAMEWORK.rglob("*.py")}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Return every module a file imports, and whether only type checkers follow it there."""
    tree = ast.parse(path.read_text())
    checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in checking) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in SOURCES else node.module or "", id(node) in checking)


def floor(module: str) -> int:
    if module in FRONTS:
        return 2
    return FLOORS[max((name for name in FLOORS if in_package(module, name)), key=len)]


def in_package(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def package(module: str) -> str:
    return ".".join(module.split(".")[:2])


def is_pure(module: str) -> bool:
    return in_package(module, *PURE) and not in_package(module, *IMPURE) and module not in FRONTS


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_imports_point_down(module: str) -> None:
    for target, _ in imports(SOURCES[module]):
        if not in_package(target, "oddwire") or (module, target) in ALLOWED:
            continue
        if package(target) == package(module):
            low_enough = floor(target) <= floor(module)
        else:
            low_enough = floor(target) < floor(module)
        assert low_enough, f"{module} (floor {floor(module)}) imports {target} (floor {floor(target)})"
        assert (package(module), package(target)) not in APART, f"{module} should not know {target}"
        if package(module) == "oddwire.proto":
            assert package(target) in ("oddwire.proto", "oddwire.errors", "oddwire.lazy"), f"{module} imports {target}"


@pytest.mark.parametrize("module", sorted(module for module in SOURCES if is_pure(module)))
def test_the_pure_floors_know_nothing_of_the_world(module: str) -> None:
    for target, checking in imports(SOURCES[module]):
        assert target.partition(".")[0] not in WORLDLY or (module, target) in VALUES, f"{module} imports {target}"
        assert checking or not in_package(target, "oddwire") or is_pure(target), f"{module} imports {target}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {
        module: {target for target, checking in imports(path) if not checking and target in SOURCES} - {module}
        for module, path in SOURCES.items()
    }
    for module, target in ALLOWED:
        graph[module].discard(target)
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, (*way, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


def test_extensions_import_oddwire_alone() -> None:
    for path in EXTENSIONS.rglob("*.py"):
        module = module_name(path, EXTENSIONS)
        for target, _ in imports(path):
            allowed = target in PUBLIC or in_package(target, "oddwire.known", package(module))
            allowed = allowed or target.partition(".")[0] in EXTRAS.get(package(module).rpartition(".")[2], ())
            assert allowed or target.partition(".")[0] in sys.stdlib_module_names, f"{path}: imports {target}"


@pytest.mark.parametrize("module", sorted(module for module in SOURCES if in_package(module, "oddwire.known")))
def test_known_protocols_import_public_names_alone(module: str) -> None:
    """What they need is what others have who write down a protocol."""
    allowed = {"oddwire.codecs", "oddwire.errors", "oddwire.proto", "oddwire.schema"}
    allowed |= {"oddwire.schema.message"}  # the decorator
    allowed |= {"oddwire.proto.keys"}  # names of oddwire.proto, which is a front and so not pure
    allowed |= {"oddwire.schema.bolt_csv", "oddwire.codecs.bolt.codec"}  # as docs/schema.md imports them
    if module in ("oddwire.known", *(f"oddwire.known.{name}" for name in ("listing", "protocol", "reading"))):
        allowed |= {"oddwire.lazy", "oddwire.records", "oddwire.proto.type_numbers"}
    if SOURCES[module].name == "__init__.py":
        allowed |= {"oddwire.lazy"}  # for the list of its names
    for target, _ in imports(SOURCES[module]):
        assert target in allowed or in_package(target, "oddwire.known") or not in_package(target, "oddwire"), target


def test_there_are_two_packages_and_each_sample_is_one_in_the_second() -> None:
    """What else lay at the top of the wheel would hide users' own modules of that name."""
    packages = {path.parent for root in (FRAMEWORK, EXTENSIONS) for path in root.glob("*/__init__.py")}
    assert packages == {FRAMEWORK / "oddwire", SAMPLES}
    modules = [*FRAMEWORK.glob("*.py"), *EXTENSIONS.glob("*.py"), *SAMPLES.glob("*.py")]
    assert modules == [SAMPLES / "__init__.py"]
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["oddwire.extensions"]
    names = sorted(path.parent.name for path in SAMPLES.glob("*/__init__.py"))
    parts = {name: tuple(name.split("-")) for name in entries if "-" in name}  # a module of a sample
    assert entries == {
        **{name: f"oddwire_extensions.{name}:extension" for name in names},
        **{name: f"oddwire_extensions.{sample}.{part}:extension" for name, (sample, part) in parts.items()},
    }


def test_every_exception_is_still_needed() -> None:
    for module, target in ALLOWED | VALUES:
        assert target in {name for name, _ in imports(SOURCES[module])}
