"""A candidate in a process of its own, to be frozen and killed: `candidate.py BOOTSTRAP TOPIC NAME [--late]`.

Writes its name again and again while it is elected, and says on stdout what happens. With `--late` it stops itself
when it has been elected and has not taken up the producer yet.
"""

import os
import signal
import sys
from datetime import timedelta

from millrace.kafka.control_writer import Put
from millrace.kafka.election import Election
from millrace.process.settings import KafkaSettings

SESSION = timedelta(seconds=3)


class LateElection(Election):
    """Freezes once at the worst moment: elected, and not yet able to write."""

    frozen = False

    def _take_office(self) -> None:
        if not self.frozen:
            self.frozen = True
            say("frozen")
            os.kill(os.getpid(), signal.SIGSTOP)
        super()._take_office()


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(bootstrap: str, topic: str, name: str, *, is_late: bool) -> None:
    kind = LateElection if is_late else Election
    with kind(KafkaSettings(bootstrap=bootstrap), topic, group=f"{topic}-office", session=SESSION) as election:
        was_elected = False
        number = 0
        while os.getppid() != 1:
            is_elected = election.turn(timedelta(milliseconds=50))
            if is_elected != was_elected:
                say("elected" if is_elected else "standing by")
                was_elected = is_elected
            if is_elected:
                number += 1
                if election.decide([Put(topic, "decision", {"by": name, "number": number})]) is None:
                    say("refused")


if __name__ == "__main__":
    main(*sys.argv[1:4], is_late="--late" in sys.argv)
