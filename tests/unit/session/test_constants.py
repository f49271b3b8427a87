import pytest

from oddwire.session.constants import MAX_VERSION, SESSION_TYPE, SESSION_TYPE_BYTES, is_version


def test_the_type_is_odd_and_an_applications() -> None:
    assert SESSION_TYPE.to_bytes(2, "big") == SESSION_TYPE_BYTES
    assert SESSION_TYPE % 2 == 1
    assert SESSION_TYPE >= 32768


@pytest.mark.parametrize("text", ["0", "1", "1.0", "0.1.10", "123456789.0", ".".join("1" * 128)])
def test_versions_are_numbers_joined_by_dots(text: str) -> None:
    assert is_version(text)


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "01", "1.00", "v1", "1-2", "1 ", "1234567890", "\u0661", "1" + ".1" * MAX_VERSION]
)
def test_all_else_is_none(text: str) -> None:
    assert not is_version(text)
