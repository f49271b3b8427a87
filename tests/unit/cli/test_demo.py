import re


async def test_delivers_everything_and_says_what(oddwire) -> None:
    code, out, err = await oddwire("demo")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    for name in ("echo.Request", "echo.Reply", "echo.BoltRequest", "echo.BoltReply", "chat.Say", "chat.Heard"):
        assert re.search(rf"(alice → bob|bob → alice)  0x8c\w\w {re.escape(name)} +\d+ B +\d+\.\d\d ms  \w+=", out), (
            name
        )
    assert re.search(r"0x8c01 │ echo.Request +│ msgpack │ +2 │ +0 │", out)
    assert re.search(r"0x8c05 │ echo.BoltRequest │ bolt +│ +1,002 │ +0 │", out)
    assert "all 2,016 messages were delivered" in out
    assert all(len(line) <= 80 for line in out.splitlines() if "@" not in line and not line.startswith("bob    is"))
