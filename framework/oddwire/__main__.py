"""``python -m oddwire`` is the command ``oddwire``."""

from __future__ import annotations

from oddwire.cli.main import main

main()
