import signal
from datetime import timedelta

import pytest

from millrace_trainer.adapters.running import Bounds, how_it_ended

BOUNDS = Bounds(1000, timedelta(minutes=1), timedelta(minutes=2), 2000)


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (1, "ValueError: no", "failed: ValueError: no"),
        (1, "MemoryError: ", "ran out of its 1000 bytes of memory"),
        (-signal.SIGXCPU, "", "used up its processor time of 0:01:00"),
        (-signal.SIGXFSZ, "", "wrote a file of more than 2000 bytes"),
        (-signal.SIGSEGV, "", "was ended by SIGSEGV"),
        (3, "", "left with exit code 3"),
    ],
)
def test_every_end_has_its_words(code: int, said: str, words: str) -> None:
    assert words in how_it_ended(code, said, BOUNDS)
