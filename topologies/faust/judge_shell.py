"""The judge's shell as a Faust application: evidence in, tables, reports out, exactly once as Faust understands it.

It decides nothing. What it keeps is what the judge keeps: one entry per pane and shard, *set* by each record of
evidence, and the sum over the shards of a pane in every report. Beside it, it counts how often a pane was reported: the
kind of state, *incremented*, that a replayed record spoils.

Its settings are in the environment: `FAUST_APP`, `FAUST_BROKER`, `FAUST_STORE`, `FAUST_DATA`, `FAUST_PARTITIONS`,
`FAUST_GUARANTEE`, and `FAUST_CHECK`, which is 0 to recover without Faust's check of the tables' offsets.
"""

import os

import faust

SHARDS = 4

NAME = os.environ["FAUST_APP"]
PARTITIONS = int(os.environ["FAUST_PARTITIONS"])

app = faust.App(
    NAME,
    broker=f"kafka://{os.environ['FAUST_BROKER']}",
    store=os.environ["FAUST_STORE"],
    datadir=os.environ["FAUST_DATA"],
    processing_guarantee=os.environ["FAUST_GUARANTEE"],
    recovery_consistency_check=os.environ.get("FAUST_CHECK") != "0",
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    topic_disable_leader=True,
    broker_session_timeout=10.0,
    broker_heartbeat_interval=2.0,
    broker_commit_interval=0.5,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
    worker_redirect_stdouts=False,
)
evidence = app.topic(f"{NAME}.evidence", key_type=str, value_serializer="json")
reports = app.topic(f"{NAME}.reports", key_type=str, value_serializer="json")
shards = app.Table("shards", partitions=PARTITIONS)
readings = app.Table("readings", default=int, partitions=PARTITIONS)


@app.agent(evidence)
async def judge(stream):  # noqa: ANN001, ANN201 -- Faust injects the stream
    """Set the shard, add up its pane, report."""
    async for event in stream.events():
        record, message = event.value, event.message
        pane = record["pane"]
        shards[f"{pane}/{record['shard']}"] = record["count"]
        readings[pane] += 1
        total = sum(shards.get(f"{pane}/{shard}", 0) for shard in range(SHARDS))
        report = {"source": [message.partition, message.offset], "total": total, "readings": readings[pane]}
        await reports.send(key=pane, value=report)


if __name__ == "__main__":
    app.main()
