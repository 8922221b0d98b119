"""The dead letter of a record, as it goes to Kafka."""

from __future__ import annotations

from dataclasses import replace

from stream_app.errors import FixStreamError, RecordTooLarge
from stream_app.kafka.records import Output, RawRecord
from stream_app.records.dead_letter import DeadLetter


def letter_of(record: RawRecord, error: FixStreamError, topic: str) -> Output:
    """The record, byte for byte, with headers that say why it is on ``topic``."""
    letter = DeadLetter.of(error, record.topic, record.partition, record.offset, record.headers)
    return Output(topic, record.key, record.value, letter.to_headers(), record.source)


def without_value(output: Output) -> Output:
    """A dead letter that the broker refused for its size, without the original."""
    letter, size = DeadLetter.from_headers(output.headers), len(output.value or b"")
    message = (
        f"{size} bytes are more than {output.topic} takes (max.message.bytes): the original is left where it was read. "
        f"It is {letter.code}: {letter.message}"
    )
    short = replace(letter, code=RecordTooLarge.code, message=message)
    return replace(output, value=b"", headers=short.to_headers())
