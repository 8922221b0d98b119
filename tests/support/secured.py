"""Apache Kafka with TLS, SCRAM and ACLs, and the certificates for it; one broker, three doors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from stream_app.kafka.embedded import free_port
from tests.support.brokers import KraftBroker
from tests.support.certificates import Authority
from tests.support.worker import eventually

_LOGIN = "org.apache.kafka.common.security"
_SECURITY = {
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT",
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "listener.name.ssl.ssl.client.auth": "required",
    "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
    "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
    "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}


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
        super().__init__(folder)
        self.sasl, self.mtls = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        doors = f"PLAINTEXT://{self.plain},SASL_SSL://{self.sasl},SSL://{self.mtls}"
        passwords = " ".join(f'user_{name}="{password}"' for name, password in users.items())
        self.more = _SECURITY | {
            "listeners": f"{doors},CONTROLLER://127.0.0.1:{self.controller}",
            "advertised.listeners": doors,
            "ssl.keystore.location": str(keystore),
            "ssl.truststore.location": str(self.authority.ca_file),
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{_LOGIN}.plain.PlainLoginModule required {passwords};",
        }
        self._users = [
            f"--add-scram={mechanism}=[name={name},password={password}]"
            for name, password in users.items()
            for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256")
        ]

    def format(self, *options: str) -> None:
        """With the users that SCRAM knows."""
        super().format(*options, *self._users)

    @property
    def plain(self) -> str:
        """A door without TLS, at which everybody is a super user: the test's own."""
        return self.bootstrap

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.plain, "log_level": 0})

    def grant(self, principal: str, acls: Sequence[Acl]) -> None:
        """Lets the principal, such as User:worker, do this; returns when the broker knows."""
        bindings = [AclBinding(*acl.resource, principal, "*", acl.operation, AclPermissionType.ALLOW) for acl in acls]
        for future in self._admin.create_acls(bindings).values():
            future.result(30)
        for one in self._filters(principal, acls):
            eventually(lambda one=one: self._admin.describe_acls(one).result(30), what="the broker's knowing of an ACL")

    def revoke(self, principal: str, acls: Sequence[Acl]) -> None:
        """Takes it back."""
        for future in self._admin.delete_acls(self._filters(principal, acls)).values():
            assert future.result(30), "there was no such ACL"

    @staticmethod
    def _filters(principal: str, acls: Sequence[Acl]) -> list[AclBindingFilter]:
        allow = AclPermissionType.ALLOW
        return [AclBindingFilter(*acl.resource, principal, "*", acl.operation, allow) for acl in acls]
