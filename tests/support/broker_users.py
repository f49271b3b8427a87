"""A broker with TLS, and a user by NKEY for each role, each with the permissions that the command line prints."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

import nkeys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.broker import Broker

from oddwire.transports.nats.address import BrokerAddress


class GuardedBroker(Broker):
    """``permissions`` are texts of nats-server's configuration by role; ``admin`` is a user without any limits."""

    def __init__(self, folder: Path, permissions: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "cert.pem"
        key = folder / "key.pem"
        _write_certificate(self.certificate, key)
        users = []
        self.seeds: dict[str, Path] = {}
        for role, text in {**permissions, "admin": ""}.items():
            self.seeds[role] = folder / f"{role}.nk"
            seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
            self.seeds[role].write_bytes(seed)
            public = nkeys.from_seed(bytearray(seed)).public_key.decode()
            users.append(f"{{ nkey: {public}\n{text}\n}}")
        super().__init__(
            folder,
            settings=f'tls {{ cert_file: "{self.certificate}", key_file: "{key}" }}\n'
            f"authorization {{ users: [ {', '.join(users)} ] }}",
        )

    def address_of(self, role: str) -> BrokerAddress:
        return BrokerAddress(url=f"tls://127.0.0.1:{self.port}", nkey=self.seeds[role], ca=self.certificate)


def _write_certificate(certificate: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a broker under test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
