"""The package itself: names on demand."""

import subprocess
import sys

import pytest

import oddwire


def test_what_is_not_used_is_not_imported() -> None:
    code = (
        "import sys, oddwire.proto; assert not [name for name in sys.modules if name.startswith('oddwire.app')];"
        "from oddwire import u64; assert 'oddwire.schema' in sys.modules and 'oddwire.app' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_is_there_and_stays_the_same() -> None:
    for name in oddwire.__all__:
        assert getattr(oddwire, name) is getattr(oddwire, name)
    assert set(oddwire.__all__) <= set(dir(oddwire))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'oddwire' has no attribute 'Mesage'"):
        oddwire.Mesage  # noqa: B018
