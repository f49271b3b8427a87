from collections.abc import Sequence

import pytest

from oddwire.cli.arguments import split_arguments

OWN = {"--listen": True, "--json": False, "-v": False, "-h": False, "-o": True}


@pytest.mark.parametrize(
    ("arguments", "mine", "foreign"),
    [
        ([], [], []),
        (["echo", "--json", "chat"], ["--json"], ["echo", "chat"]),
        (["--listen", "--json", "x"], ["--listen", "--json"], ["x"]),
        (["--listen=a", "b"], ["--listen=a"], ["b"]),
        (["--listen"], ["--listen"], []),
        (["-vh", "-vx", "-", "-5", "-o", "-v"], ["-vh", "-o", "-v"], ["-vx", "-", "-5"]),
        (["--lisen", "--json"], ["--json"], ["--lisen"]),
        (["--text", "-v"], ["-v"], ["--text"]),
        (["--text=-v", "--json=1"], ["--json=1"], ["--text=-v"]),
        (["a", "--", "--json", "--", "-v"], [], ["a", "--json", "--", "-v"]),
        (["", " x ", "a=b"], [], ["", " x ", "a=b"]),
        (["--takes", "-v", "-v"], ["-v"], ["--takes", "-v"]),
        (["--takes", "--", "--json"], ["--json"], ["--takes", "--"]),
        (["--takes", "--takes", "--json"], ["--json"], ["--takes", "--takes"]),
        (["--takes", "x", "--json"], ["--json"], ["--takes", "x"]),
    ],
)
def test_own_options_are_told_from_all_else(arguments: list[str], mine: list[str], foreign: list[str]) -> None:
    def claims(before: Sequence[str], following: str) -> bool:
        return before[-1] == "--takes" and following.startswith("-")

    assert split_arguments(arguments, OWN, claims) == (mine, foreign)


SHOW = """
import sys
from oddwire import Context, Extension
print("imported")
extension = Extension("show", version="1.0")
@extension.option("show-text")
def text(value: str = "") -> str:
    "What\\x9b to show."
    return value
@extension.option("show-loud")
def loud(value: bool = False) -> bool:
    return value
# MORE
@extension.on_startup
async def tell(context) -> None:
    print("shown", ascii(context.options["show-text"]), context.options["show-loud"], flush=True)
    raise ValueError("enough")
if __name__ == "__main__":
    extension.run()
"""


TEXTS = [
    "-5",
    "-v",
    "--json",
    "--",
    "-vx",
    "--help",
    "@x",
    " a ",
    "",
    "007",
    "true",
    "[1",
    "a=b",
    "a\\'",
    "東\n京",
    "#",
]


MORE = """
for number in range({count}):
    extension.option(f"show-text-{{number}}")(text)
@extension.on_startup
async def first(app) -> None:
    for number in range({count}):
        print(ascii(app.options[f"show-text-{{number}}"]))
"""


@pytest.mark.parametrize("texts", [["--json"], [text for text in TEXTS if text != "--json"]], ids=["json", "others"])
async def test_an_options_value_is_what_was_typed(oddwire, tmp_path, texts: list[str]) -> None:
    # All in one line: to start a program for each would take its time
    program = SHOW.replace("# MORE", MORE.format(count=len(texts)))
    (tmp_path / "show.py").write_text(program)
    # With --json somewhere in the line, what is printed before it is understood is not on stdout
    before = "" if texts == ["--json"] else "imported\n"
    listen = ("--listen", "127.0.0.1:0")
    shown = "".join(f"{text!a}\n" for text in texts)
    apart = [word for number, text in enumerate(texts) for word in (f"--show-text-{number}", text)]
    code, out, err = await oddwire("run", "./show.py", *apart, "--show-loud", *listen)
    assert (code, out) == (1, f"{before}{shown}shown '' True\n"), err
    together = [f"--show-text-{number}={text}" for number, text in enumerate(texts)]
    code, out, err = await oddwire(*listen, *together, program=tmp_path / "show.py")
    assert (code, out) == (1, f"imported\n{shown}shown '' False\n"), err


async def test_help_shows_what_the_named_extensions_take(oddwire, tmp_path) -> None:
    (tmp_path / "show.py").write_text(SHOW)
    for arguments in (["./show.py", "chat", "--help"], ["--help", "chat", "./show.py"], ["./show.py", "-h", "chat"]):
        code, out, _ = await oddwire("run", *arguments)
        assert code == 0
        assert "Options of the extensions:" in out
        assert "--show-text TEXT" in out
        assert "What\\x9b to show." in out
        assert "--show-loud" in out
        assert "--chat-greeting TEXT" in out
        assert "  --listen HOST:PORT" in out


async def test_help_says_why_there_is_nothing_to_show(oddwire, tmp_path) -> None:
    code, out, _ = await oddwire("run", "nosuch", "--help")
    assert code == 0
    assert "no extension is called 'nosuch'; there are: chat" in out
    code, out, _ = await oddwire("run", "\x1b[2J\x9b\udcff", "--help")
    assert code == 0
    assert "no extension is called '\\x1b[2J\\x9b\\udcff'; there are: chat" in " ".join(out.split())
    code, out, _ = await oddwire("run", "echo", "--help")
    assert (code, "Options of the extension" in out) == (0, False)


async def test_what_is_printed_while_the_command_line_is_read_is_no_event(oddwire, tmp_path) -> None:
    (tmp_path / "show.py").write_text(SHOW)
    code, out, err = await oddwire("run", "show.py", "--show-text", "-v", "--json", "--listen", "127.0.0.1:0")
    assert code == 1
    assert [line for line in out.splitlines() if not line.startswith("{")] == []
    assert "imported\nshown '-v' False\n" in err
