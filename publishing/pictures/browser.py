"""A page in Chromium as a picture, some seconds after it was opened: what comes over a stream is on it by then."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import re
import shutil
import tempfile
from typing import Any

import websockets

_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "about:blank")


def chromium() -> str | None:
    """Return the browser's path, None where there is none."""
    return shutil.which("chromium") or shutil.which("google-chrome")


async def picture(browser: str, address: str, *, after: float, width: int, height: int) -> bytes:
    """Return a PNG of a page. Cancelling ends the browser."""
    # Processes of its own may write there for a moment after its end
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *(browser, f"--user-data-dir={profile}", f"--window-size={width},{height}", *_OPTIONS),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            debugger = None
            while debugger is None:
                line = await process.stderr.readline()
                if not line:
                    raise RuntimeError(f"{browser} ended before it could be asked")
                debugger = re.search(rb"ws://\S+", line)
            async with websockets.connect(debugger[0].decode(), max_size=None, proxy=None) as connection:
                return await _picture(connection, address, after, {"width": width, "height": height})
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _picture(connection: Any, address: str, after: float, size: dict[str, int]) -> bytes:
    numbers = itertools.count(1)

    async def call(method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(numbers)
        whose = {} if session is None else {"sessionId": session}
        await connection.send(json.dumps({"id": number, "method": method, "params": parameters, **whose}))
        while True:
            answer = json.loads(await connection.recv())
            if answer.get("id") == number:
                return dict(answer["result"])

    target = (await call("Target.createTarget", url=address))["targetId"]
    session = (await call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
    await call("Emulation.setDeviceMetricsOverride", session, **size, deviceScaleFactor=1, mobile=False)
    await asyncio.sleep(after)
    shot = await call("Page.captureScreenshot", session, format="png")
    return base64.b64decode(shot["data"])
