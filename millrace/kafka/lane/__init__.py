"""The lanes over the real client: one worker's way from input partitions to output topics.

`open_lane` makes the lane that a `LaneSpec` describes; `millrace.core.lane` says what a lane promises.
"""

from millrace.kafka.lane.group import GroupLane
from millrace.kafka.lane.native import native_library
from millrace.kafka.lane.opening import open_exactly_once, open_lane
from millrace.kafka.lane.spec import LaneSpec

__all__ = ["GroupLane", "LaneSpec", "native_library", "open_exactly_once", "open_lane"]
