"""What a receiver needs to send its samples to a network: nothing but confluent-kafka and fastavro is imported."""

from stream_app.receiver.cutter import CutSlot, Slots
from stream_app.receiver.sender import ReceptionSender, WhenFull

__all__ = ["CutSlot", "ReceptionSender", "Slots", "WhenFull"]
