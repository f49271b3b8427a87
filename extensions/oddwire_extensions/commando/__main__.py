"""``python -m oddwire_extensions.commando``: both sides of commando, under lightningd or on a node of its own."""

from oddwire_extensions.commando import extension

extension.run()
