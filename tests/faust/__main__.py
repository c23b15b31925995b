"""Kill the judge's shell in Faust; print a seed first and one JSON line last."""

import argparse
import os
import random
import sys
from pathlib import Path

from millrace.testing.broker import BorrowedBroker, temporary_broker
from tests.faust.plan import Plan
from tests.faust.run import run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="interpreter that has Faust")
    parser.add_argument("--log", type=Path, default=Path(".venv-faust/workers.log"), help="what the workers say")
    parser.add_argument("--store", default="rocksdb://", choices=["rocksdb://", "memory://"])
    parser.add_argument("--guarantee", default="exactly_once", choices=["exactly_once", "at_least_once"])
    parser.add_argument("--no-check", dest="check", action="store_false", help="recover without the check of offsets")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--calm-secs", type=float, default=5.0, help="before the first kill")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = vars(parser.parse_args())
    python, log = options.pop("python"), options.pop("log")
    plan = Plan(**options)

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    say(f"seed {plan.seed}: again with --seed {plan.seed}")
    if bootstrap := os.environ.get("MILLRACE_TEST_BOOTSTRAP"):
        result = run(plan, BorrowedBroker(bootstrap), python, log=log, say=say)
    else:
        with temporary_broker() as broker:
            result = run(plan, broker, python, log=log, say=say)
    sys.stdout.write(f"{result.to_json()}\n")
    return 0 if result.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
