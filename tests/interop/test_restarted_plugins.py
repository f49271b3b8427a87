"""What a plugin that is started again has of its options, on lightningd and on the embedded node: the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import program

pytestmark = pytest.mark.interop
KIND = pytest.mark.parametrize("kind", ["node", pytest.param("lightningd", marks=pytest.mark.cln)])
LINE = ["--keeps-word=mine", "--keeps-many=a", "--keeps-many=b", "--keeps-flag"]
OWN = {"keeps-word": "mine", "keeps-many": ["a", "b"], "keeps-flag": True, "keeps-level": 1}


@KIND
async def test_values_of_the_command_line_and_of_setconfig_stay(start, kind: str) -> None:
    daemon = getattr(start, kind)("keeps", options=LINE)
    path = str(program("keeps"))

    async def restart(path: str = path, **options: object) -> object:
        await daemon.call("plugin", "stop", "keeps.py")
        assert "keeps-word" not in (await daemon.call("listconfigs"))["configs"]
        await daemon.call("plugin", subcommand="start", plugin=path, **options)
        return await daemon.call("keeps")

    assert await daemon.call("keeps") == OWN
    assert await restart() == OWN
    assert await restart(f"{Path(path).parent}/../plugins/keeps.py") == OWN
    await daemon.call("setconfig", config="keeps-level", val="7", transient=True)
    assert await restart() == {**OWN, "keeps-level": 7}
    configs = (await daemon.call("listconfigs"))["configs"]
    assert configs["keeps-level"]["source"] == "setconfig transient"
    assert configs["keeps-many"]["sources"] == ["cmdline", "cmdline"]
    once = await restart(**{"keeps-word": "once", "keeps-many": "c"})
    assert once == {**OWN, "keeps-word": "once", "keeps-many": ["a", "b", "c"], "keeps-level": 7}
    assert await restart() == {**OWN, "keeps-level": 7}
