import pickle
from typing import Any

import pytest

from oddwire import Refuse, RemoteFailure, RpcError
from oddwire.errors import RemoteRpcError


def test_what_a_peer_tells_may_be_printed() -> None:
    told = "\x1b[2J\nERROR forged \x9b\u202e 東京"
    failure = RemoteFailure(told, code=4)
    assert failure.text == told  # as it came, for programs
    assert str(failure) == r"\x1b[2J\nERROR forged \x9b\u202e 東京"


def test_what_an_rpc_method_answers() -> None:
    error = RpcError(-32602, "no such asset", {"assets": ["eur"]})
    assert (error.code, error.text, error.data) == (-32602, "no such asset", {"assets": ["eur"]})
    assert str(error) == "no such asset"
    assert RpcError(1, "no").data is None
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.text, again.data) == (RpcError, error.code, error.text, error.data)


@pytest.mark.parametrize(
    ("code", "text", "wrong"),
    [
        ("no", 1, TypeError),  # the other way round
        (True, "no", TypeError),
        (1.5, "no", TypeError),
        (1 << 31, "no", ValueError),
        (-(1 << 31) - 1, "no", ValueError),
    ],
)
def test_an_rpc_errors_code_is_a_number_of_32_bits(code: object, text: object, wrong: type[Exception]) -> None:
    with pytest.raises(wrong, match="32 bits at most" if wrong is ValueError else "an int and a str"):
        RpcError(code, text)  # type: ignore[arg-type]


def test_a_peers_rpc_error_is_a_failure_of_the_peer() -> None:
    error = RemoteRpcError("\x1b[2Jno", code=-32601, data=[1])
    assert isinstance(error, RemoteFailure)
    assert (error.code, error.text, error.data, str(error)) == (-32601, "\x1b[2Jno", [1], r"\x1b[2Jno")


@pytest.mark.parametrize("code", [4, 1000, 65535])
def test_a_handlers_refusal_has_one_of_its_own_codes(code: int) -> None:
    assert Refuse("no", code=code).code == code


@pytest.mark.parametrize("code", [-1, 0, 1, 3, 5, 7, 999, 65536, None, "4"])
def test_a_code_of_the_session_protocol_is_not_a_handlers(code: Any) -> None:
    with pytest.raises(ValueError, match="code should be 4, or one of your own from 1000 to 65535, not"):
        Refuse("no", code=code)


def test_oddwire_itself_refuses_with_any_code() -> None:
    refusal = Refuse.of_session("no", 7)
    assert (refusal.code, refusal.text, str(refusal)) == (7, "no", "no")
    assert pickle.loads(pickle.dumps(refusal)).code == 7
