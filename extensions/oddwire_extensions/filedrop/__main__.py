"""``python -m oddwire_extensions.filedrop``, and a plugin of lightningd when that starts it."""

from oddwire_extensions.filedrop import extension

if __name__ == "__main__":
    extension.run()
