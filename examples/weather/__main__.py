"""`make demo`: the weather story on a real Kafka of its own, from nothing to a summary.

Exit codes: 0 when every record had exactly one fate and the loop reached what it had to, 1 when not or when something
failed, 130 when interrupted, whatever failed after that.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from examples.weather.days import Days
from examples.weather.display import Display, open_display
from examples.weather.interruption import Interruption
from examples.weather.picture import write_chart, write_picture
from examples.weather.story import Plan, tell, write_page
from examples.weather.summary import next_steps, summary
from examples.weather.years import (
    read_years,
    score_years,
    scored_by,
    write_years,
    write_years_picture,
    years_table,
)
from millrace.client.node import local_nodes, stop_node
from millrace.core.errors import MillraceError, RequestError
from millrace.kafka.broker import LocalBroker
from millrace.kafka.jars import Progress
from millrace.process.clock import SystemClock
from millrace.process.settings import KafkaSettings

_ROOT: Final = Path(__file__).resolve().parents[2]
_HOME: Final = _ROOT / ".millrace" / "demo"
_FOLDER: Final = Path(__file__).parent
_PIPE_WIDTH: Final = 110
INTERRUPTED: Final = 130
"""Exit code of whoever was interrupted: a shell's."""
_MARKER: Final = ".weather-story"
"""A file in the story's folder. A folder without it is somebody else's and is not emptied."""


def main() -> int:
    """Play the story; its exit code."""
    arguments = _parser().parse_args()
    console = _console()
    display, interruption = open_display(console, SystemClock()), Interruption()
    return exit_code(lambda: _play(arguments, display, interruption), interruption, console)


def exit_code(play: Callable[[], int], interruption: Interruption, console: Console) -> int:
    """Play, obey interruptions meanwhile, and say how it ended.

    An interrupt that comes while something is slow to start or to stop may end in the error of that: it is said, and
    the end is still the one that was asked for.
    """
    try:
        with interruption.listening():
            return play()
    except MillraceError as error:
        console.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=True)
        console.print(Text.assemble(("remedy: ", "bold green"), error.remedy or "none is known"), soft_wrap=True)
        return INTERRUPTED if interruption.is_asked else 1
    except KeyboardInterrupt:
        console.print("interrupted; everything that was started is stopped")
        return INTERRUPTED


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def _play(arguments: argparse.Namespace, display: Display, interruption: Interruption) -> int:
    home: Path = arguments.home
    _empty(home)
    plan = Plan(_FOLDER, home, days_per_sec=arguments.days_per_sec, keep=arguments.keep)
    with _cluster(arguments.bootstrap, home, display, interruption, keep=plan.keep) as kafka:
        outcome = tell(plan, kafka=kafka, display=display, clock=SystemClock(), interruption=interruption)
        with interruption.step(display, "Writing the report page"):
            page = write_page(plan, kafka)
        with interruption.step(display, "Scoring all fifty years as files"):
            write_years(Days.load(), home / "years")
            score_years("rain@champion", home / "years", home / "scored", kafka, home, pause=interruption.pause)
    display.say(summary(outcome))
    years = read_years(home / "scored")
    display.say(years_table(years))
    display.say(next_steps(_short(home), _short(page), outcome, kept=plan.keep))
    if arguments.pictures:
        write_picture(outcome.last, outcome.loop, arguments.pictures / "demo.svg")
        write_chart(outcome.last, outcome.loop, arguments.pictures / "loop.svg")
        write_years_picture(years, scored_by(home / "scored"), arguments.pictures / "years.svg")
    return 0 if outcome.is_good else 1


def _short(path: Path) -> Path:
    return path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else path


def _cluster(
    bootstrap: str | None, home: Path, display: Display, interruption: Interruption, *, keep: bool
) -> AbstractContextManager[KafkaSettings]:
    """The brokers that are named, else one of the story's own."""
    if bootstrap:
        return nullcontext(KafkaSettings(bootstrap=bootstrap))
    return _broker(LocalBroker(home), display, interruption, keep=keep)


@contextmanager
def _broker(
    broker: LocalBroker, display: Display, interruption: Interruption, *, keep: bool
) -> Iterator[KafkaSettings]:
    """Run the broker until the block ends, or on if it is kept and the block ends well.

    It lives in a session of its own, so Ctrl-C does not reach it before us.
    """
    try:
        with interruption.step(display, "Starting Kafka") as on_step:

            def report(progress: Progress) -> None:
                on_step(progress.stage.value, progress.done, progress.total)

            broker.start(on_progress=report)
        yield broker.kafka
    except BaseException:
        broker.stop()
        raise
    if not keep:
        broker.stop()


def _empty(home: Path) -> None:
    """Remove what an earlier story left, so that this one counts its own records."""
    for node in local_nodes(home):
        stop_node(home, node=node.node)
    LocalBroker(home).stop()
    if home.exists() and any(home.iterdir()) and not (home / _MARKER).exists():
        raise RequestError(f"{home} holds files that are not this story's", remedy="name an empty folder with --home")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / _MARKER).touch()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.weather", description="The weather story on a real Kafka."
    )
    parser.add_argument(
        "--days-per-sec", type=float, default=300, help="how fast days pass while nothing waits for the loop (300)"
    )
    parser.add_argument(
        "--home", type=Path, default=_HOME, help="folder of broker and models; emptied (.millrace/demo)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave broker, launcher and all it runs when the story ends"
    )
    parser.add_argument(
        "--bootstrap", metavar="HOST:PORT", help="brokers that run and that no story was told on, instead of its own"
    )
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write the README's pictures to FOLDER")
    return parser


if __name__ == "__main__":
    sys.exit(main())
