"""Apache Kafka with TLS, SCRAM and ACLs, and the certificates for it; one broker, three doors."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stream_app.kafka.embedded import free_port
from tests.support.brokers import KraftBroker

# Braces in pairs are KraftBroker's to fill in.
_SECURITY = """\
listeners=PLAINTEXT://127.0.0.1:{{port}},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{mtls},\
CONTROLLER://127.0.0.1:{{controller}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{mtls}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {plain};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


class Authority:
    """A certificate authority of one test's own; its certificate is ``ca_file``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.ca_file = folder / f"{name}.pem"
        self.ca_file.write_bytes(_pem(self._signed(self._name, self._key, ca=True)))

    def issue(self, name: str, password: str = "") -> tuple[Path, Path]:
        """A certificate for CN=``name`` at 127.0.0.1, and its key, encrypted where there is a password."""
        key = ec.generate_private_key(ec.SECP256R1())
        hidden: Any = serialization.NoEncryption()
        if password:
            hidden = serialization.BestAvailableEncryption(password.encode())
        certificate_file, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate_file.write_bytes(_pem(self._signed(_named(name), key)))
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
        return certificate_file, key_file

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool = False) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return builder.sign(self._key, hashes.SHA256())


@dataclass(frozen=True)
class Acl:
    """An operation on the resource of that name, or on all whose names begin so."""

    operation: AclOperation
    kind: ResourceType
    name: str
    prefixed: bool = False

    @property
    def resource(self) -> tuple[ResourceType, str, ResourcePatternType]:
        """As confluent-kafka wants it."""
        return self.kind, self.name, ResourcePatternType.PREFIXED if self.prefixed else ResourcePatternType.LITERAL


class SecuredBroker(KraftBroker):
    """Who comes by ``sasl`` (SCRAM or PLAIN over TLS) or ``mtls`` may do what its ACLs allow, and no more."""

    def __init__(self, folder: Path, users: dict[str, str]) -> None:
        """``users`` with their passwords."""
        self.authority = Authority(folder, "authority")
        certificate_file, key_file = self.authority.issue("broker")
        keystore = folder / "broker.pem"
        keystore.write_bytes(key_file.read_bytes() + certificate_file.read_bytes())
        sasl, mtls = free_port(), free_port()
        self.sasl, self.mtls = f"127.0.0.1:{sasl}", f"127.0.0.1:{mtls}"
        config = _SECURITY.format(
            sasl=sasl,
            mtls=mtls,
            keystore=keystore,
            truststore=self.authority.ca_file,
            plain=" ".join(f'user_{name}="{password}"' for name, password in users.items()),
        )
        options = [
            f"--add-scram={mechanism}=[name={name},password={password}]"
            for name, password in users.items()
            for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256")
        ]
        super().__init__(folder, config, options)

    @property
    def plain(self) -> str:
        """A door without TLS, at which everybody is a super user: the test's own."""
        return f"127.0.0.1:{self.port}"

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.plain, "log_level": 0})

    def grant(self, principal: str, acls: Sequence[Acl]) -> None:
        """Lets the principal, such as User:worker, do this."""
        bindings = [AclBinding(*acl.resource, principal, "*", acl.operation, AclPermissionType.ALLOW) for acl in acls]
        for future in self._admin.create_acls(bindings).values():
            future.result(10)

    def revoke(self, principal: str, acls: Sequence[Acl]) -> None:
        """Takes it back."""
        filters = [
            AclBindingFilter(*acl.resource, principal, "*", acl.operation, AclPermissionType.ALLOW) for acl in acls
        ]
        for future in self._admin.delete_acls(filters).values():
            assert future.result(10), "there was no such ACL"


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
