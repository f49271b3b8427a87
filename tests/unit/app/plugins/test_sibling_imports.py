from __future__ import annotations

import gc
import importlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from oddwire.app.plugins.sibling_imports import file_of, import_file

Write = Callable[..., None]


@pytest.fixture
def write(folder: Path) -> Iterator[Write]:
    """Write modules: keys are paths without their ``.py``."""

    def write(more: Mapping[str, str] | None = None, **files: str) -> None:
        for name, text in (*files.items(), *(more or {}).items()):
            path = folder / (name + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    path = list(sys.path)
    yield write
    assert sys.path == path


def load(path: Path) -> ModuleType:
    return import_file(os.path.realpath(path))


def test_each_file_has_its_own_neighbours(write: Write, folder: Path) -> None:
    for name in ("a", "b"):
        text = "import messages\nfrom messages import NAME\nfrom words import messages as theirs\n"
        write({f"{name}/first": text, f"{name}/messages": f"NAME = '{name}'\n", f"{name}/words": "import messages\n"})
    a, b = load(folder / "a" / "first.py"), load(folder / "b" / "first.py")
    assert (a.NAME, b.NAME) == ("a", "b")
    assert (a.theirs, b.theirs) == (a.messages, b.messages)
    for module in (a, b, a.messages, b.messages):
        assert sys.modules[module.__name__] is module


@pytest.mark.parametrize("name", ["types", "json", "logging", "time", "_strptime", "pytest", "msgpack", "echo", "site"])
def test_a_neighbour_may_have_the_name_of_any_other_module(write: Write, folder: Path, name: str) -> None:
    before = sys.modules.get(name)
    write(main=f"import {name}\nfrom {name} import mine\nimport {name} as again\n", **{name: "mine = __file__\n"})
    module = load(folder / "main.py")
    assert module.mine == str(folder / f"{name}.py")
    assert getattr(module, name) is module.again
    assert sys.modules.get(name) is before or name == "echo"
    assert sys.modules[module.again.__name__] is module.again


def test_what_c_code_imports_by_itself_is_the_librarys(write: Write, folder: Path) -> None:
    write(
        time="", _strptime="", copyreg="", io="",
        main="import datetime, pickle\nparsed = datetime.datetime.strptime('2026', '%Y').timetuple()\n"
        "pickled = pickle.dumps(parsed)\n",
    )  # fmt: skip
    assert load(folder / "main.py").parsed.tm_year == 2026


def test_oddwire_is_oddwire(write: Write, folder: Path) -> None:
    import oddwire

    write(oddwire="from oddwire import Extension\nimport oddwire\nimport sys\n", sys="")
    module = load(folder / "oddwire.py")
    assert module.oddwire is oddwire
    assert module.sys is sys
    assert module.__name__ == "oddwire_2"


def test_a_file_that_imports_its_own_name_means_another_module(write: Write, folder: Path) -> None:
    write(json="import json\nfrom json import dumps\nfrom words import json as ours\n", words="import json\n")
    module = load(folder / "json.py")
    assert module.json is importlib.import_module("json")
    assert module.ours is module
    write(nothing_else_so="import nothing_else_so\n")
    assert load(folder / "nothing_else_so.py").nothing_else_so.__name__ == "nothing_else_so"


def test_a_neighbour_is_found_whenever_it_is_imported(write: Write, folder: Path) -> None:
    text = "def late():\n    import messages\n    return messages.NAME\n"
    text += "def missing():\n    import comes_later\n    return 1\n"
    for name in ("a", "b"):
        write({f"{name}/lazy": text, f"{name}/messages": f"NAME = '{name}'\n"})
    a, b = load(folder / "a" / "lazy.py"), load(folder / "b" / "lazy.py")
    assert (b.late(), a.late(), b.late()) == ("b", "a", "b")
    with pytest.raises(ModuleNotFoundError, match="No module named 'comes_later'"):
        a.missing()
    write({"a/comes_later": ""})
    assert a.missing() == 1
    with pytest.raises(ModuleNotFoundError, match="No module named 'comes_later'"):
        b.missing()


def test_import_module_finds_what_an_import_statement_finds(write: Write, folder: Path) -> None:
    text = (
        "import importlib\nfrom importlib import import_module, util\nimport importlib.metadata as metadata\n"
        "one, two = importlib.import_module('messages'), import_module('parts.sub')\n"
        "three, four = import_module('.sub', 'parts'), __import__('messages')\n"
    )
    for name in ("a", "b"):
        write({f"{name}/named": text, f"{name}/messages": "", f"{name}/parts/__init__": "", f"{name}/parts/sub": ""})
        module = load(folder / name / "named.py")
        assert module.one.__file__ == str(folder / name / "messages.py")
        assert module.two.__file__ == str(folder / name / "parts" / "sub.py")
        assert module.three is module.two
        assert module.four is module.one
        assert module.util is importlib.util
        assert module.metadata is importlib.import_module("importlib.metadata")
        assert module.importlib.reload is importlib.reload


def test_modules_of_another_folder_are_not_there(write: Write, folder: Path) -> None:
    write({"a/first": "import only_in_a\n", "a/only_in_a": "", "b/second": "import only_in_a\n"})
    load(folder / "a" / "first.py")
    with pytest.raises(ModuleNotFoundError, match="No module named 'only_in_a'"):
        load(folder / "b" / "second.py")


def test_neighbours_may_import_each_other_and_the_file(write: Write, folder: Path) -> None:
    write(
        market="things = []\nimport offers\nimport bids\n",
        offers="from market import things\nimport bids\nthings.append(bids)\n",
        bids="import offers\nimport market\nmarket.things.append(offers)\n",
    )
    module = load(folder / "market.py")
    assert module.things == [module.offers, module.bids]


def test_the_same_file_is_one_module_however_it_is_named(write: Write, folder: Path) -> None:
    write(one="import other\n", other="")
    (folder / "linked").symlink_to(folder)
    (folder / "alias.py").symlink_to(folder / "one.py")
    module = load(folder / "one.py")
    assert load(folder / "linked" / "one.py") is module
    assert load(folder / "." / "one.py") is module
    assert load(folder / "alias.py") is module
    assert load(folder / "other.py") is module.other
    assert file_of(module.__name__) == str(folder / "one.py")


def test_a_file_imported_by_python_before_is_that_module(write: Write, folder: Path) -> None:
    write(before_us="", after_us="import before_us\n")
    sys.path.insert(0, str(folder))
    try:
        ordinary = importlib.import_module("before_us")
        assert load(folder / "before_us.py") is ordinary
        module = load(folder / "after_us.py")
        assert module.before_us is ordinary
        assert importlib.import_module("after_us") is module
    finally:
        sys.path.remove(str(folder))


def test_a_package_and_its_parts(write: Write, folder: Path) -> None:
    for name in ("a", "b"):
        write({
            f"{name}/shop/__init__": "from .inner.deep import NAME\nfrom shop.inner import deep\n"
            "import shop.inner as s\n",
            f"{name}/shop/types": "",
            f"{name}/shop/inner/__init__": "import types\nfrom .. import types as ours\nimport beside\n",
            f"{name}/shop/inner/deep": f"NAME = '{name}'\nfrom shop import inner\n",
            f"{name}/beside": f"NAME = '{name}'\n",
        })  # fmt: skip
    a, b = load(folder / "a" / "shop"), load(folder / "b" / "shop" / "__init__.py")
    assert (a.NAME, b.NAME) == ("a", "b")
    for module in (a, b):
        assert module.deep.__name__ == f"{module.__name__}.inner.deep"
        assert module.s is module.inner
        assert module.inner.types is importlib.import_module("types")  # absolute imports are absolute
        assert module.inner.ours.__name__ == f"{module.__name__}.types"
        assert module.inner.beside.NAME == module.NAME
    assert load(folder / "a" / "shop" / "inner" / "deep.py") is a.inner.deep


def test_a_file_inside_a_package_may_use_relative_imports_and_names_beside_it(write: Write, folder: Path) -> None:
    market = "from . import messages\nfrom pack import messages as again\nimport messages as bare\n"
    write({"pack/__init__": "", "pack/messages": "", "pack/market": market})
    module = load(folder / "pack" / "market.py")
    assert module.__name__ == "pack.market"
    assert module.messages is module.again is module.bare


def test_folders_without_init_are_packages_where_nothing_else_is(write: Write, folder: Path) -> None:
    main = "import parts.prices\nfrom parts import prices\nimport json\n"
    write({"main": main, "parts/prices": "import parts.more\n", "parts/more": ""})
    (folder / "json").mkdir()
    module = load(folder / "main.py")
    assert module.prices.__file__ == str(folder / "parts" / "prices.py")
    assert module.prices.parts is module.parts
    assert module.parts.__name__ == "parts"
    assert module.json is importlib.import_module("json")
    assert load(folder / "parts" / "more.py") is module.parts.more


def test_two_ways_to_a_file_in_a_folder_make_one_module(write: Write, folder: Path) -> None:
    write({"main": "import parts.prices\n", "parts/prices": ""})
    inner = load(folder / "parts" / "prices.py")
    assert load(folder / "main.py").parts.prices is inner


@pytest.mark.parametrize(
    "name",
    ["market.v2.py", "mar ket.py", "mar-ket.py", "2nd.py", "a.b.c.py", "..py", "mar'ket.py", "mär\nket.py", "class.py"],
)
def test_a_file_may_be_called_anything(folder: Path, name: str) -> None:
    (folder / "beside.py").write_text("")
    (folder / name).write_text("import beside\nclass A: pass\n")
    module = load(folder / name)
    assert pickle.loads(pickle.dumps(module.A)) is module.A
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "pack" / "beside.py").write_text("")
    (folder / "pack" / name).write_text("from . import beside\nclass B: pass\n")
    module = load(folder / "pack" / name)
    assert pickle.loads(pickle.dumps(module.B)) is module.B
    assert module.beside.__name__ == "pack.beside"


def test_a_file_may_have_a_name_that_is_not_utf8(folder: Path) -> None:
    path = os.fsencode(folder) + b"/caf\xe9.py"
    Path(os.fsdecode(path)).write_text("class A: pass\n")
    module = import_file(os.fsdecode(path))
    assert module.__name__ == "caf_"
    assert pickle.loads(pickle.dumps(module.A)) is module.A


def test_two_names_that_differ_in_what_a_module_name_cannot_have(write: Write, folder: Path) -> None:
    for name in ("a-b", "a_b", "a.b"):
        (folder / f"{name}.py").write_text(f"NAME = '{name}'\n")
    assert [load(folder / f"{name}.py").NAME for name in ("a-b", "a_b", "a.b")] == ["a-b", "a_b", "a.b"]


def test_builtins_and_main_guards_are_as_ever(write: Write, folder: Path) -> None:
    write(main="ran = __name__ == '__main__'\nnames = set(dir(__builtins__)) if False else None\nfound = eval('len')\n")
    module = load(folder / "main.py")
    assert not module.ran
    assert module.found is len


def test_a_failed_import_leaves_nothing_and_may_be_repeated(write: Write, folder: Path) -> None:
    write(main="import broken\n", broken="1 / 0\n")
    before = set(sys.modules)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            load(folder / "main.py")
        assert set(sys.modules) == before
    write(broken="NOW = 'it works'\n")
    assert load(folder / "main.py").broken.__name__ == "broken"


def test_threads_that_import_at_once_get_one_whole_module(write: Write, folder: Path) -> None:
    write(
        main="def late():\n    import slow\n    return slow.DONE\n",
        slow="import threading\nthreading.Event().wait(0.05)\nDONE = object()\n",
    )
    module, found = load(folder / "main.py"), []
    threads = [threading.Thread(target=lambda: found.append(module.late())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_a_folder_that_cannot_be_written_to(write: Write, folder: Path) -> None:
    write({"ro/main": "import beside\n", "ro/beside": ""})
    (folder / "ro").chmod(0o555)
    try:
        assert load(folder / "ro" / "main.py").beside
    finally:
        (folder / "ro").chmod(0o755)


def test_bytecode_without_its_source(write: Write, folder: Path) -> None:
    import py_compile

    write(main="import compiled\n", compiled="NAME = 'c'\n")
    py_compile.compile(str(folder / "compiled.py"), cfile=str(folder / "compiled.pyc"))
    (folder / "compiled.py").unlink()
    assert load(folder / "main.py").compiled.NAME == "c"


def test_objects_that_are_no_modules_may_lie_among_them(write: Write, folder: Path) -> None:
    write(main="")
    sys.modules["not_a_module"] = 5  # type: ignore[assignment]
    try:
        assert load(folder / "main.py").__name__ == "main"
    finally:
        del sys.modules["not_a_module"]


def test_classes_of_a_renamed_module_work_as_others(write: Write, folder: Path) -> None:
    write(
        types="import dataclasses, typing, functools\n@dataclasses.dataclass\nclass Offer:\n    price: 'int'\n"
        "    other: 'Offer | None' = None\nhints = typing.get_type_hints(Offer)\n",
        main="from types import Offer, hints\n",
    )
    module = load(folder / "main.py")
    assert module.hints["other"] == module.Offer | None
    assert pickle.loads(pickle.dumps(module.Offer(3))) == module.Offer(3)
    gc.collect()


def test_nobody_else_imports_otherwise(write: Write, folder: Path) -> None:
    """In an interpreter of its own: builtins, sys.path and the modules of the library are untouched."""
    write(main="import types, random\n", types="", random="")
    script = (
        "import builtins, sys\nbefore = (builtins.__import__, [*sys.path])\n"
        "from oddwire.app.plugins.sibling_imports import import_file\n"
        f"module = import_file({str(folder / 'main.py')!r})\n"
        "assert (builtins.__import__, sys.path) == before\n"
        "import types, random\nassert types.ModuleType and random.random\n"
        "assert module.types is not types and module.random is not random\n"
        "import tempfile, secrets\nassert secrets.SystemRandom is random.SystemRandom\n"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
