"""Names that are in other people's files, settings and logs: the table in docs/cli.md is what the code does."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import oddwire
from oddwire.app import lightningd
from oddwire.app.plugins import manager
from oddwire.app.programs import registry
from oddwire.cli import broker, contract_files, keyfile, lnd, node, plugin, run, shell_prompt, worker
from oddwire.cluster.broker import configuration
from oddwire.cluster.gateway import lightningd as gateway
from oddwire.jsonrpc import program_folder
from oddwire.node import directory_lock, secret
from oddwire.node import node as embedded
from oddwire.session.store import database

ROOT = Path(__file__).parents[1]
FRAMEWORK = ROOT / "framework"
ROW = re.compile(r"^\| (file|table|import|environment|entry point|logger) \| `([^`]+)` \|", re.MULTILINE)
PACKAGE = re.compile(r"^\| `(oddwire[\w.]*)` \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
TABLE = ROW.findall((ROOT / "docs" / "cli.md").read_text())


def documented(kind: str) -> list[str]:
    return [name for each, name in TABLE if each == kind]


def calls() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(FRAMEWORK.rglob("*.py")):
        module = ".".join(path.relative_to(FRAMEWORK).with_suffix("").parts)
        yield from ((module, node) for node in ast.walk(ast.parse(path.read_text())))


def value(module: str, node: ast.AST) -> str:
    """Return the text of a constant, of the name of one, or of an f-string, with NAME for what it depends on."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return str(getattr(importlib.import_module(module), name))
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "NAME" for part in parts)
    raise AssertionError(f"{module}: what is {ast.unparse(node)}?")


def test_the_names_of_files() -> None:
    found = {
        *(
            keyfile.KEY_FILE,
            run.STORE_FILE,
            embedded._DATABASE,
            embedded._RPC_FILE,
            secret.SECRET_FILE,
            registry.FOLDER,
            program_folder.DATA_DIR_SOCKET,
        ),
        f"~/.local/state/{shell_prompt.FOLDER}",
        *(str(node.DEFAULT_DIR), lightningd.store_name("/a/folder/NAME.py"), lightningd.store_name("NAME")),
        *(str(contract_files.default_file("NAME")), str(lnd.FILE)),
        *(configuration.CONFIGURATION_FILE, broker.LOCK_FILE),
        *(gateway.announced_file("/a/folder/NAME.py"), gateway.lock_file("NAME")),
        worker.LOCK_FILE,
    }
    assert sorted({*documented("file")}) == sorted({*found, "lightningd-NETWORK.pid"})


def test_the_names_of_the_nodes_own_file(tmp_path: Path) -> None:
    lock = directory_lock.DirectoryLock(tmp_path, "NETWORK")
    assert [path.name for path in tmp_path.iterdir()] == ["lightningd-NETWORK.pid"]
    lock.release()


def test_the_names_of_tables() -> None:
    [prefix] = documented("table")
    source = Path(database.__file__).read_text()
    tables = re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", source)
    assert tables
    assert all(table.startswith(prefix.removesuffix("...")) for table in tables)


def test_what_a_plugin_file_imports() -> None:
    name, of_gateway = documented("import")
    for text, wanted in (
        (plugin._TEXT, f"from oddwire import {name}"),
        (plugin._GATEWAY.decode(), f"from oddwire.cluster.gateway.lightningd import {of_gateway}"),
    ):
        imports = [each for each in ast.parse(text.partition('"""')[2]).body if isinstance(each, ast.ImportFrom)]
        assert [ast.unparse(each) for each in imports] == [wanted]
    assert name in oddwire.__all__
    assert of_gateway in gateway.__all__


def test_the_options_of_a_gateways_plugin_file() -> None:
    row = next(line for line in (ROOT / "docs" / "cli.md").read_text().splitlines() if "| `oddwire-broker`," in line)
    assert {*re.findall(r"`(oddwire-[\w-]+)`", row)} == {option.name for option in gateway.OPTIONS}


def test_the_variables_of_the_environment() -> None:
    found = set()
    for module, each in calls():
        match each:
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"), args=[name, *_]):
                found.add(value(module, name))
            case ast.Compare(left=name, ops=[ast.In()], comparators=[ast.Attribute(attr="environ")]):
                found.add(value(module, name))
            case ast.Subscript(value=ast.Attribute(attr="environ"), slice=name):
                found.add(value(module, name))
            case ast.Call(func=ast.Attribute(attr="getenv")) | ast.ImportFrom(module="os"):
                names = {alias.name for alias in each.names} if isinstance(each, ast.ImportFrom) else {"getenv"}
                assert not names & {"environ", "environb", "getenv", "getenvb"}, module
    assert sorted(documented("environment")) == sorted(found)


def test_the_groups_of_entry_points() -> None:
    assert sorted(documented("entry point")) == sorted([manager.EXTENSIONS, manager.TRANSPORTS, manager.CODECS])
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert {*ours} - {"pytest11"} <= {*documented("entry point")}


def test_the_names_of_loggers() -> None:
    """None is that of a module, whose name may change."""
    found = set()
    for module, each in calls():
        match each:
            case ast.Call(func=ast.Name(id="get_logger") | ast.Attribute(attr="getLogger"), args=[name]):
                if not (isinstance(name, ast.Name) and name.id == "name"):  # `get_logger` itself
                    found.add(value(module, name))
    above = {"asyncio", "oddwire"}  # where handlers and filters are set
    assert above < found
    assert sorted(documented("logger")) == sorted(found - above)


@pytest.mark.parametrize(("package", "names"), PACKAGE.findall((ROOT / "docs" / "extending.md").read_text()))
def test_names_are_where_the_docs_say(package: str, names: str) -> None:
    listed = re.findall(r"`(\w+)`", names)
    assert listed or package == "oddwire.errors"
    for name in listed:
        assert getattr(importlib.import_module(package), name) is not None
        assert name in importlib.import_module(package).__all__ or name == "__version__"
        assert package in ("oddwire", "oddwire.session") or name not in oddwire.__all__, f"{name} is in oddwire"


def test_every_package_with_names_is_in_the_docs() -> None:
    told = {package for package, _ in PACKAGE.findall((ROOT / "docs" / "extending.md").read_text())}
    elsewhere = set(re.findall(r'^            "(oddwire\.\w+)",$', Path(oddwire.__file__).read_text(), re.MULTILINE))
    assert elsewhere < told == {"oddwire", *elsewhere}
