from __future__ import annotations

import base64
import os
import ssl
from pathlib import Path

import pytest
from tests.support.lnd.certificates import make_certificate
from tests.support.lnd.macaroons import READONLY, bake

from oddwire.transports.lnd.credentials import LndCredentials, default_lnddir
from oddwire.transports.lnd.errors import LndRefused

CERTIFICATE, KEY = make_certificate()
MACAROON = bake(b"key", READONLY)


@pytest.fixture
def lnddir(tmp_path):
    """LND's folder as LND makes it."""
    folder = tmp_path / "lnd"
    macaroons = folder / "data" / "chain" / "bitcoin" / "regtest"
    macaroons.mkdir(parents=True)
    (folder / "tls.cert").write_bytes(CERTIFICATE)
    (folder / "tls.key").write_bytes(KEY)
    (macaroons / "admin.macaroon").write_bytes(MACAROON)
    return folder


def refused(call):
    with pytest.raises(LndRefused) as caught:
        call()
    assert MACAROON[-32:].hex() not in caught.value.reason
    return caught.value.reason


# Where things are looked for


def test_a_folder_is_read_as_lncli_reads_it(lnddir):
    credentials = LndCredentials(lnddir=lnddir, network="regtest")
    assert credentials.address == "localhost:10009"
    assert credentials.certificate() == CERTIFICATE
    macaroon = credentials.macaroon()
    assert macaroon is not None
    assert macaroon.header == MACAROON.hex()


def test_without_anything_it_is_lnds_own_folder():
    credentials = LndCredentials()
    assert credentials.tlscert == default_lnddir() / "tls.cert"
    assert credentials.macaroon_file == default_lnddir() / "data/chain/bitcoin/mainnet/admin.macaroon"


@pytest.mark.parametrize("word", ["mainnet", "bitcoin"])
def test_both_words_for_the_main_network_are_taken(word, tmp_path):
    assert (
        LndCredentials(lnddir=tmp_path, network=word).macaroon_file
        == tmp_path / "data/chain/bitcoin/mainnet/admin.macaroon"
    )


def test_files_that_are_given_go_before_those_of_the_folder(lnddir, tmp_path):
    other = tmp_path / "other.macaroon"
    credentials = LndCredentials(lnddir=lnddir, macaroon=other, tlscert="~/cert")
    assert (credentials.macaroon_file, credentials.tlscert) == (other, Path.home() / "cert")
    assert (credentials.explicit_macaroon, LndCredentials(lnddir=lnddir).explicit_macaroon) == (True, False)


def test_with_a_certificate_alone_no_macaroon_is_sent(lnddir):
    assert LndCredentials("localhost", tlscert=lnddir / "tls.cert").macaroon() is None


def test_a_macaroon_that_is_not_there_is_not_there_yet(lnddir):
    with pytest.raises(FileNotFoundError):
        LndCredentials(lnddir=lnddir, network="signet").macaroon()


def test_files_are_read_anew(lnddir):
    credentials = LndCredentials(lnddir=lnddir, network="regtest")
    assert credentials.certificate() == CERTIFICATE
    renewed, _ = make_certificate()
    (lnddir / "tls.cert").write_bytes(renewed)
    assert credentials.certificate() == renewed


# Addresses


@pytest.mark.parametrize(
    ("given", "address", "place"),
    [
        ("localhost", "localhost:10009", ("localhost", 10009)),
        ("10.0.0.1:10010", "10.0.0.1:10010", ("10.0.0.1", 10010)),
        ("10010", "localhost:10010", ("localhost", 10010)),
        (":10010", "localhost:10010", ("localhost", 10010)),
        ("[::1]:10010", "[::1]:10010", ("::1", 10010)),
        ("[fe80::1%eth0]", "[fe80::1%eth0]:10009", ("fe80::1%eth0", 10009)),
        ("my-lnd.example.com:010009", "my-lnd.example.com:10009", ("my-lnd.example.com", 10009)),
    ],
)
def test_an_address(given, address, place):
    credentials = LndCredentials(given)
    assert (credentials.address, credentials.host_and_port, credentials.socket_path) == (address, place, "")


@pytest.mark.parametrize("given", ["unix:///run/lnd.sock", "unix:/run/lnd.sock"])
def test_a_unix_socket(given):
    credentials = LndCredentials(given)
    assert (credentials.address, credentials.host_and_port, credentials.socket_path) == (
        "unix:///run/lnd.sock",
        None,
        "/run/lnd.sock",
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            "https://localhost:8080",
            "should be HOST:PORT or unix:///PATH, not 'https://localhost:8080': it is the one of",
        ),
        ("::1", "should be HOST:PORT or unix:///PATH, not '::1': write an IPv6 address in brackets, [::1]:10009"),
        ("localhost:0", "port of LND's address 'localhost:0' should be 1 to 65535"),
        (f"localhost:{'1' * 5000}", "should be 1 to 65535"),
        ("localhost:x", "port of LND's address 'localhost:x' should be 1 to 65535"),
        ("localhost:65536", "port of LND's address 'localhost:65536' should be 1 to 65535"),
        ("my host:1", "LND's address should be HOST:PORT or unix:///PATH, not 'my host:1'"),
        ("", "LND's address should be HOST:PORT or unix:///PATH, not ''"),
        ("unix://lnd.sock", "LND's address should be HOST:PORT or unix:///PATH, not 'unix://lnd.sock'"),
    ],
)
def test_an_address_that_is_none(given, text):
    with pytest.raises(ValueError) as caught:
        LndCredentials(given)
    assert text in str(caught.value)


def test_a_network_that_is_none():
    with pytest.raises(ValueError) as caught:
        LndCredentials(network="main")
    assert str(caught.value) == (
        "network should be one of mainnet, testnet, testnet4, signet, simnet, regtest, not 'main'"
    )


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ("[Application Options]\nrpclisten=127.0.0.1:10011\nrpclisten=10.0.0.1:10012\n", "127.0.0.1:10011"),
        ("rpclisten = 0.0.0.0:10011", "localhost:10011"),
        ("rpclisten=[::]:10011", "localhost:10011"),
        ("rpclisten=:10011", "localhost:10011"),
        ("rpclisten=unix:///run/lnd.sock", "unix:///run/lnd.sock"),
        ("# rpclisten=127.0.0.1:10011", "localhost:10009"),
        ("; rpclisten=127.0.0.1:10011", "localhost:10009"),
        ("restlisten=127.0.0.1:10011", "localhost:10009"),
        ("rpclisten=one:two:three", "localhost:10009"),
    ],
)
def test_the_address_is_found_in_lnds_configuration(lines, address, lnddir):
    (lnddir / "lnd.conf").write_text(lines)
    assert LndCredentials(lnddir=lnddir).address == address
    assert LndCredentials("localhost:1", lnddir=lnddir).address == "localhost:1"


# Files that are wrong


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no such file; LND writes tls.cert when it first starts"),
        (KEY, "is a private key; give LND's tls.cert, which is beside it"),
        (
            ssl.PEM_cert_to_DER_cert(CERTIFICATE.decode()),
            "is not in PEM format, which begins with -----BEGIN CERTIFICATE",
        ),
        (b"", "is not in PEM format"),
        (CERTIFICATE[:200] + CERTIFICATE[300:], "is damaged; copy LND's tls.cert again"),
        (CERTIFICATE[:200], "is damaged; copy LND's tls.cert again"),
        (bytes(2**20 + 1), "has more than a megabyte; give LND's tls.cert"),
    ],
)
def test_a_certificate_that_is_none(content, text, lnddir):
    (lnddir / "tls.cert").unlink()
    if content is not None:
        (lnddir / "tls.cert").write_bytes(content)
    reason = refused(LndCredentials(lnddir=lnddir).certificate)
    assert reason.startswith(f"TLS certificate {lnddir / 'tls.cert'}")
    assert text in reason


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty; make one by the line that `oddwire lnd macaroon` prints"),
        (base64.b64encode(MACAROON), "is in base64"),
        (CERTIFICATE, "is a certificate or key"),
        (bytes(2**20 + 1), "has more than a megabyte"),
    ],
)
def test_a_macaroon_that_is_none(content, text, tmp_path):
    file = tmp_path / "our.macaroon"
    file.write_bytes(content)
    reason = refused(LndCredentials(macaroon=file).macaroon)
    assert reason.startswith((f"macaroon {file} {text}", f"macaroon {file}: {text}"))


def test_a_macaroon_in_hex_is_taken(tmp_path):
    file = tmp_path / "our.macaroon"
    file.write_text(MACAROON.hex() + "\n")
    macaroon = LndCredentials(macaroon=file).macaroon()
    assert macaroon is not None
    assert macaroon.header == MACAROON.hex()


def test_folders_in_place_of_files(tmp_path):
    credentials = LndCredentials(tlscert=tmp_path, macaroon=tmp_path)
    assert refused(credentials.certificate) == f"TLS certificate {tmp_path}: is a folder; give LND's tls.cert"
    assert refused(credentials.macaroon) == f"macaroon {tmp_path}: is a folder; give the macaroon's file"


def test_what_would_be_waited_for_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refused(LndCredentials(tlscert=tmp_path / "pipe").certificate)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(lnddir):
    (lnddir / "tls.cert").chmod(0)
    assert "no permission to read it" in refused(LndCredentials(lnddir=lnddir).certificate)


def test_a_part_of_the_path_that_is_a_file(lnddir):
    credentials = LndCredentials(lnddir=lnddir, tlscert=lnddir / "tls.cert" / "x")
    assert "Not a directory" in refused(credentials.certificate)


def test_a_files_name_cannot_steer_a_terminal(tmp_path):
    assert "\\x1b" in refused(LndCredentials(tlscert=tmp_path / "\x1b[2J").certificate)


def test_the_repr_shows_where_not_what(lnddir):
    credentials = LndCredentials("localhost", lnddir=lnddir, network="regtest")
    shown = repr(credentials)
    assert shown == (
        f"LndCredentials('localhost:10009', tlscert='{lnddir}/tls.cert',"
        f" macaroon='{lnddir}/data/chain/bitcoin/regtest/admin.macaroon')"
    )
