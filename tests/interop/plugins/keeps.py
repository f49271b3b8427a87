#!/usr/bin/env python3
"""A plugin that tells what options its ``init`` brought."""

from pyln.client import Plugin

plugin = Plugin()
plugin.add_option("keeps-word", "default", "a word")
plugin.add_option("keeps-many", None, "words", multi=True)
plugin.add_flag_option("keeps-flag", "a flag")
plugin.add_option("keeps-level", 1, "a number", "int", dynamic=True)


@plugin.method("keeps")
def keeps(plugin):
    """Tell every option."""
    return {name: plugin.get_option(name) for name in ("keeps-word", "keeps-many", "keeps-flag", "keeps-level")}


plugin.run()
