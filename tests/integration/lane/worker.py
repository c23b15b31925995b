"""One worker in a process of its own, driven from the test line by line, so that it can be stopped anywhere.

Each line on standard input is a command; each line on standard output says that one is done::

    hold N      poll until N records are held
    write       write what is held
    commit      commit; answers with the outcome
    begin       begin a commit
    poll        poll once
    await       wait for the commit that was begun; answers with the outcome
"""

import json
import sys
from datetime import timedelta

from millrace.kafka.lane import LaneSpec
from millrace.process.deployment import GroupProtocol
from millrace.process.settings import KafkaSettings, LaneBody
from millrace.testing.contracts.kafka_world import KafkaWorld
from millrace.testing.contracts.lane import Worker


def main() -> None:
    order = json.loads(sys.argv[1])
    spec = LaneSpec(
        order["deployment"],
        order["slot"],
        order["topic"],
        group_protocol=GroupProtocol(order["protocol"]),
        session_timeout=timedelta(seconds=order["session_secs"]),
        transaction_timeout=timedelta(seconds=order["transaction_secs"]),
        body=LaneBody(order["body"]),
    )
    world = KafkaWorld(KafkaSettings(bootstrap=order["bootstrap"]), spec, order["output_topic"])
    worker = Worker(world, spec.slot)
    for line in sys.stdin:
        match line.split():
            case ["hold", count]:
                worker.hold(int(count))
                answer = "held"
            case ["write"]:
                worker.write()
                answer = "written"
            case ["commit"]:
                answer = worker.lane.commit().value
            case ["begin"]:
                worker.lane.begin_commit()
                answer = "begun"
            case ["poll"]:
                worker.poll()
                answer = "polled"
            case ["await"]:
                answer = worker.lane.await_commit().outcome.value
            case _:
                raise ValueError(line)
        print(answer, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
