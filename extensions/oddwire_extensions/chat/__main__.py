"""``python -m oddwire_extensions.chat``, and a plugin of lightningd when that starts it."""

from oddwire_extensions.chat import extension

if __name__ == "__main__":
    extension.run()
