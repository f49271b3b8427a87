from oddwire import RemoteFailure


def test_what_a_peer_tells_may_be_printed() -> None:
    told = "\x1b[2J\nERROR forged \x9b\u202e 東京"
    failure = RemoteFailure(told, code=4)
    assert failure.text == told  # as it came, for programs
    assert str(failure) == r"\x1b[2J\nERROR forged \x9b\u202e 東京"
