"""A receiver that sends its samples to a FixStream network, slot by slot: python receiver.py BROKER:9092"""

import os
import sys
import time

from stream_app.receiver import ReceptionSender, Slots

RATE_HZ, BLOCK = 48_000, 4_800
HERE = {"receiver_id": "north", "latitude": 47.70, "longitude": 9.20, "altitude_m": 520.0}
RADIO = {"sample_rate_hz": RATE_HZ, "datatype": "ci16_le", "center_frequency_hz": 433.92e6, "time_sync": "GPS"}


def blocks():
    """Of your radio: when a block's first sample was taken (ns since 1970, by GNSS), and I and Q in turn."""
    start = time.time_ns()
    for number in range(30):
        yield start + number * BLOCK * 10**9 // RATE_HZ, os.urandom(4 * BLOCK)


slots = Slots(slot_s=0.5, sample_rate_hz=RATE_HZ, datatype="ci16_le")
with ReceptionSender(sys.argv[1], network="demo", **HERE, **RADIO) as sender:
    for start_ns, block in blocks():
        for slot in slots.feed(start_ns, block):
            sender.send(slot_at_us=slot.slot_at_us, start_time_ns=slot.start_time_ns, samples=slot.samples)
print(f"{sender.sent} slots sent, {slots.lost} lost")
