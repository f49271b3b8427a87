"""The monitor in a browser: a page on loopback, made of starlette and uvicorn."""
