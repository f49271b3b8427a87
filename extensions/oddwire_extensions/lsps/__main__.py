"""``python -m oddwire_extensions.lsps``: an LSP that sells nothing, under lightningd or on its own."""

from oddwire_extensions.lsps import extension

extension.run()
