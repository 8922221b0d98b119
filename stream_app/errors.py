"""One tree of errors. Each class carries a stable ``code``: the dead letter's header, the metric's label."""

from __future__ import annotations

from collections.abc import Sequence


class FixStreamError(Exception):
    """Anything FixStream raises on purpose. The message says what was wrong, where, and what to do."""

    code = "internal"
    versions: tuple[str, ...] = ()  # of the model, that a capture was given to in vain


class CaptureError(FixStreamError):
    """One capture cannot be answered: it becomes a dead letter, its neighbours go on."""

    code = "bad-capture"


class UndecodableRecord(CaptureError):
    """The bytes are not an Avro single-object record of a schema that we know."""

    code = "undecodable"


class UnknownSchema(UndecodableRecord):
    """The fingerprint names a writer schema that is not known here."""

    code = "unknown-schema"


class UnreadableRecord(CaptureError):
    """The client library cannot unpack the batch that holds the record: nothing of it is at hand."""

    code = "cannot-unpack"


class InvalidCapture(CaptureError):
    """The record decodes, but its fields contradict each other or physics."""

    code = "invalid-capture"


class InvalidReception(CaptureError):
    """A reception decodes, but its fields contradict each other or physics."""

    code = "invalid-reception"


class UnknownNetwork(CaptureError):
    """A reception is of a network whose file the assembler was not given."""

    code = "unknown-network"


class UnknownReceiver(CaptureError):
    """A reception's receiver is not in its network's file."""

    code = "unknown-receiver"


class LateReception(CaptureError):
    """A reception came when its slot was closed."""

    code = "late-reception"


class TooFewReceivers(CaptureError):
    """A reception's slot was closed with fewer receivers than a capture needs."""

    code = "too-few-receivers"


class NoOverlap(CaptureError):
    """A reception shares too little time with the others of its slot."""

    code = "no-overlap"


class FrequencyMismatch(CaptureError):
    """A reception states another center frequency than most of its slot."""

    code = "frequency-mismatch"


class UnanswerableCapture(CaptureError):
    """The capture is sound, but the model cannot answer it (too few or too many receivers, no finite fix)."""

    code = "unanswerable"


class SchemaFileError(FixStreamError):
    """An Avro schema file is missing or cannot be used."""

    code = "schema-file"


class ModelError(FixStreamError):
    """A model cannot be loaded or does not keep the contract."""

    code = "model"


class ContractViolation(ModelError):
    """The ONNX file does not look as the model contract says."""

    code = "model-contract"


class ModelRefused(ModelError):
    """The file asks for what no model may have: other files, custom operators, too much memory or time."""

    code = "model-refused"


class RegistryUnavailable(ModelError):
    """The registry does not answer, and the disk cache does not hold the model either."""

    code = "registry-unavailable"


class ModelNotFound(ModelError):
    """The registry answers, but has no such model, version, alias or stage."""

    code = "model-not-found"


class DeploymentRefused(ModelError):
    """A deployment makes no sense, or cannot be applied: what runs goes on."""

    code = "deployment-refused"


class NoModelLoaded(ModelError):
    """No version of the model is loaded yet."""

    code = "no-model"


class Overloaded(FixStreamError):
    """More captures wait than the worker takes: try again in a moment."""

    code = "overloaded"


class NetworkFileError(FixStreamError):
    """The receiver network's YAML file is missing, broken, or contradicts itself."""

    code = "network-file"


class RecordingError(FixStreamError):
    """A recording on disk cannot be read as what it claims to be."""

    code = "recording"


class TruthFileError(FixStreamError):
    """A file of true positions is missing or broken."""

    code = "truth-file"


class FixesFileError(FixStreamError):
    """A file of fixes as JSON lines is missing or broken."""

    code = "fixes-file"


class ExportFailed(FixStreamError):
    """What is exported cannot be written to where it is to go."""

    code = "export"


class BrokerUnavailable(FixStreamError):
    """No broker answers at the configured address, or none serves this client."""

    code = "broker-unavailable"


class AuthenticationFailed(BrokerUnavailable):
    """Broker and client do not accept each other: a password, a certificate, or the kind of connection."""

    code = "authentication-failed"


class NotAuthorized(BrokerUnavailable):
    """The brokers know this client, but an ACL is missing for what it is to do."""

    code = "not-authorized"


class DeadLetterError(FixStreamError):
    """A dead letter that was asked for is not there, or cannot be written to a file."""

    code = "dead-letter"


class DeliveryFailed(FixStreamError):
    """The broker did not acknowledge a record: its input must not be committed."""

    code = "delivery-failed"


class RecordTooLarge(DeliveryFailed):
    """A record is larger than its topic takes."""

    code = "too-large"

    def __init__(self, message: str, refused: Sequence[object]) -> None:
        """``refused``: the outputs that were too large."""
        super().__init__(message)
        self.refused = refused


class CacheUnavailable(FixStreamError):
    """The cache backend does not answer; the pipeline goes on without it."""

    code = "cache-unavailable"


class SettingsError(FixStreamError):
    """An option has a value that cannot be used."""

    code = "settings"


class WorkerFailed(FixStreamError):
    """A worker process that this command started ended or does not become ready."""

    code = "worker-failed"


class MapPageMissing(FixStreamError):
    """The map's page was not built into this package."""

    code = "map-page-missing"


class EvaluationFileError(FixStreamError):
    """A file of a simulated evaluation cannot be read or written."""

    code = "evaluation-file"
