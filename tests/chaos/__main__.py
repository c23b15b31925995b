"""`make chaos`: kill and freeze real scorers; print a seed first and one JSON line last."""

import argparse
import os
import random
import sys

from millrace.process.settings import LaneBody
from millrace.testing.broker import BorrowedBroker, temporary_broker
from tests.chaos.plan import Plan
from tests.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--freezes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--lane", type=LaneBody, default=LaneBody.PYTHON, help="python or native")
    options = parser.parse_args()
    plan = Plan(options.seed, options.records, kills=options.kills, freezes=options.freezes, lane=options.lane)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    say(f"seed {plan.seed}: again with `make chaos` or `python -m tests.chaos --seed {plan.seed}`")
    if bootstrap := os.environ.get("MILLRACE_TEST_BOOTSTRAP"):
        result = run(plan, BorrowedBroker(bootstrap), say)
    else:
        with temporary_broker() as broker:
            result = run(plan, broker, say)
    print(result.to_json())
    return 0 if result.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
