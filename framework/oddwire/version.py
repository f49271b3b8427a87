"""The version of oddwire, from the metadata of the installed package.

Imported when ``oddwire.__version__`` is used, since `importlib.metadata` takes some milliseconds to import.
"""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__: str = version("oddwire")
except PackageNotFoundError:  # copied, frozen or zipped without its metadata
    __version__ = "unknown"
