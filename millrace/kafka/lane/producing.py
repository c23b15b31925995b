"""What the producers of all lanes have in common."""

import logging
from typing import Final

from millrace.kafka.lane.spec import LaneSpec
from millrace.process.settings import ClientConfig, KafkaSettings

CLIENT_LOG: Final = logging.getLogger("millrace.kafka.client")
"""Where the lanes' clients log; they never write to standard error by themselves."""

PAUSE: Final = 0.01
"""Seconds to serve the client before something that it could not do yet is tried again."""


def producer_config(kafka: KafkaSettings, spec: LaneSpec) -> ClientConfig:
    """Order is kept, nothing is sent twice, the queue is bounded."""
    config: ClientConfig = {
        "enable.idempotence": True,
        "compression.type": spec.compression,
        "linger.ms": 2,
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 128 * 1024,
        # The topic's own limit decides what is too large.
        "message.max.bytes": 64 * 1024 * 1024,
        "log.connection.close": False,
    }
    return kafka.client(**config)
