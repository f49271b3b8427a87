"""Which oddwire this is: as installed, by its package's metadata.

Imported for whoever asks for ``oddwire.__version__``, since `importlib.metadata` takes some milliseconds to import.
"""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__: str = version("oddwire")
except PackageNotFoundError:  # copied, frozen or zipped without it
    __version__ = "unknown"
