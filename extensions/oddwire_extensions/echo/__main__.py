"""``python -m oddwire_extensions.echo``, and a plugin of lightningd when that starts it."""

from oddwire_extensions.echo import extension

if __name__ == "__main__":
    extension.run()
