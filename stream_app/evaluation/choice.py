"""What may be chosen of a simulated evaluation. Without heavy imports: the command line shows it."""

from __future__ import annotations

from enum import StrEnum

SNRS_DB = (-20.0, -10.0, -5.0, 0.0, 10.0, 20.0, 30.0)
RECEIVERS = (2, 3, 4, 5, 8)
FIXES = 2000


class Geometry(StrEnum):
    """Where a cell's emitters stand, at random with equal density."""

    INSIDE = "inside"  # within half of the ring's radius
    OFF_CENTRE = "off-centre"  # in the ring's outer half
    BORDER = "border"  # outside the ring, within a tenth of the area's half side from its border
    OUTSIDE = "outside"  # outside the area, 1.2 to 2 times as far out as its border
