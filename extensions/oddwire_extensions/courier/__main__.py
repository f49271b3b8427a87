"""``python -m oddwire_extensions.courier``, and a plugin of lightningd when that starts it."""

from oddwire_extensions.courier import extension

if __name__ == "__main__":
    extension.run()
