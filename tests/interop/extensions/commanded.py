#!/usr/bin/env python3
"""commando, as a plugin."""

from oddwire_extensions.commando import extension

extension.run()
