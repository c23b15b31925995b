"""Topics as tables: what Flink must be told to read a topic's records, and to write some, exactly once."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from millrace.core.errors import RequestError
from millrace.process.settings import PASSWORD_MECHANISMS, KafkaSettings

TRANSACTION_TIMEOUT: Final = timedelta(minutes=10)
"""How long a transaction may stay open: longer than a checkpoint takes, and than a restart of the job; below the
broker's `transaction.max.timeout.ms`, 15 minutes unless somebody set it."""


def source_table(
    name: str, topic: str, client: Mapping[str, str], *, group: str, bounded: bool, whole: bool = False
) -> str:
    """The statement that makes a table of a topic: keys, values, headers and coordinates, undecoded.

    Args:
        name: Of the table.
        topic: The topic.
        client: Properties of a Java client.
        group: Under which the job's offsets are written at each checkpoint, for people to see the lag.
        bounded: Whether to end where the topic ends now.
        whole: Whether to begin where the topic begins, whatever the group has committed.
    """
    options = {
        "connector": "kafka",
        "topic": topic,
        **_properties(client),
        "properties.group.id": group,
        "properties.isolation.level": "read_committed",
        "properties.auto.offset.reset": "earliest",
        "scan.startup.mode": "earliest-offset" if whole else "group-offsets",
        **({"scan.bounded.mode": "latest-offset"} if bounded else {}),
        **_BYTES,
    }
    return f"""CREATE TEMPORARY TABLE {name} (
        `key` BYTES,
        `value` BYTES,
        `partition` INT METADATA VIRTUAL,
        `offset` BIGINT METADATA VIRTUAL,
        `timestamp` TIMESTAMP_LTZ(3) METADATA VIRTUAL,
        `headers` MAP<STRING NOT NULL, BYTES> METADATA VIRTUAL
    ) WITH ({_written(options)})"""


def sink_table(name: str, topic: str, client: Mapping[str, str], *, transactions: str) -> str:
    """The statement that makes a table to write to a topic, in the transactions of Flink's checkpoints.

    Args:
        name: Of the table.
        topic: The topic.
        client: Properties of a Java client.
        transactions: What the ids of the transactions start with; one job's only.
    """
    options = {
        "connector": "kafka",
        "topic": topic,
        **_properties(client),
        "properties.transaction.timeout.ms": str(int(TRANSACTION_TIMEOUT.total_seconds() * 1000)),
        "sink.delivery-guarantee": "exactly-once",
        "sink.transactional-id-prefix": transactions,
        **_BYTES,
    }
    return f"""CREATE TEMPORARY TABLE {name} (
        `key` BYTES,
        `value` BYTES,
        `timestamp` TIMESTAMP_LTZ(3) METADATA,
        `headers` MAP<STRING NOT NULL, BYTES> METADATA
    ) WITH ({_written(options)})"""


_BYTES: Final = {
    "key.format": "raw",
    "key.fields": "key",
    "value.format": "raw",
    "value.fields-include": "EXCEPT_KEY",
}


def java_client(kafka: KafkaSettings) -> dict[str, str]:
    """The settings as properties of Kafka's Java client. Passwords are in clear in what comes back.

    Raises:
        RequestError: A password file cannot be read, or librdkafka has a key here that Java has not.
    """
    if kafka.properties:
        raise RequestError(
            f"the Kafka properties {', '.join(sorted(kafka.properties))} are librdkafka's, not Java's",
            remedy="use the settings that have a name: security_protocol, sasl_*, ssl_*",
        )
    given = kafka.client()
    client = {"bootstrap.servers": kafka.bootstrap, "security.protocol": kafka.security_protocol.value.upper()}
    if kafka.sasl_mechanism is not None:
        if kafka.sasl_mechanism not in PASSWORD_MECHANISMS:
            raise RequestError(
                f"a Flink job cannot sign in by {kafka.sasl_mechanism}", remedy="use PLAIN or SCRAM for this job"
            )
        module = "plain.PlainLoginModule" if kafka.sasl_mechanism == "PLAIN" else "scram.ScramLoginModule"
        client["sasl.mechanism"] = kafka.sasl_mechanism.value
        client["sasl.jaas.config"] = (
            f"org.apache.flink.kafka.shaded.org.apache.kafka.common.security.{module} required"
            f' username="{_jaas(str(given["sasl.username"]))}" password="{_jaas(str(given["sasl.password"]))}";'
        )
    if kafka.ssl_ca is not None:
        client |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(kafka.ssl_ca)}
    if not kafka.ssl_verify_hostname:
        client["ssl.endpoint.identification.algorithm"] = ""
    return client


def _jaas(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _properties(client: Mapping[str, str]) -> dict[str, str]:
    return {f"properties.{key}": value for key, value in client.items()}


def _written(options: Mapping[str, str]) -> str:
    return ", ".join(f"'{key}' = '{_quoted(value)}'" for key, value in options.items())


def _quoted(text: str) -> str:
    return text.replace("'", "''")
