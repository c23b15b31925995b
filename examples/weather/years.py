"""The batch chapter: all fifty years as files, scored with one command, shown as a table and a picture.

    python -m examples.weather.years write FOLDER       # FOLDER/years, one file a year, and FOLDER/rain-bundle
    python -m examples.weather.years show SCORED        # what `millrace batch run` made of them

The guide `docs/guides/score-years-of-files.md` tells what lies between the two; `make demo` does all of it.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
from rich.console import Console
from rich.table import Table

from examples.weather.days import CLASSES, Days
from examples.weather.training import TRAINING_END, make_bundle
from millrace.core.errors import FatalError
from millrace.process.settings import KafkaSettings

_LOOK_SECS: Final = 0.1
_FIRST: Final = date(1949, 1, 1)
_RIGHT, _QUIET = "#0353c9", "#5a636e"


@dataclass(frozen=True, slots=True)
class Year:
    """A year of predictions beside the truth.

    Attributes:
        year: Which.
        days: Days that were scored.
        rainy: Days with rain.
        foretold: Days for which the model said so.
        right: Days for which it was right, either way.
    """

    year: int
    days: int
    rainy: int
    foretold: int
    right: int

    @property
    def accuracy(self) -> float:
        """The share of days for which it was right."""
        return self.right / self.days


def write_years(days: Days, folder: Path) -> None:
    """Write one Parquet file a year: the number of the day, the measurements, and whether it rained."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(days.first, days.end)
    table = pa.table({"day": numbers, **days.columns(), "rain": days.rain})
    years = _years(numbers)
    for year in np.unique(years).tolist():
        pa.parquet.write_table(table.filter(pa.array(years == year)), folder / f"{year}.parquet")


def score_years(
    model: str, years: Path, scored: Path, kafka: KafkaSettings, home: Path, *, pause: Callable[[float], None]
) -> None:
    """The one command. `pause` sleeps between two looks at it, and raises where it is to be ended.

    Raises:
        FatalError: It failed; its own words are in the message.
    """
    program = Path(sys.executable).with_name("millrace")
    command = [str(program), "batch", "run", "--model", model, "--input", str(years), "--output", str(scored)]
    environment = {**os.environ, "MILLRACE_KAFKA__BOOTSTRAP": kafka.bootstrap, "MILLRACE_HOME": str(home)}
    words = [*command, "--keep", "day", "--keep", "rain", "--workers", "1"]
    with TemporaryFile() as said:
        # In a session of its own Ctrl-C does not reach it before us, and is not taken for its failure.
        job = subprocess.Popen(words, env=environment, stdout=said, stderr=said, start_new_session=True)
        try:
            while job.poll() is None:
                pause(_LOOK_SECS)
        finally:
            job.terminate()
            job.wait()
        said.seek(0)
        why = said.read().decode(errors="replace").strip()
    if job.returncode:
        raise FatalError(f"scoring the years failed: {why}", remedy="run the same command by hand")


def read_years(scored: Path) -> tuple[Year, ...]:
    """What became of each year, in their order."""
    table = pa.dataset.dataset(scored, format="parquet").to_table(columns=["day", "rain", "label"])
    foretold = table.column("label").to_numpy() == CLASSES[1]
    rainy, years = table.column("rain").to_numpy() == 1, _years(table.column("day").to_numpy())
    return tuple(
        Year(
            year,
            int(here.sum()),
            int(rainy[here].sum()),
            int(foretold[here].sum()),
            int((foretold == rainy)[here].sum()),
        )
        for year in np.unique(years).tolist()
        for here in (years == year,)
    )


def decades(years: tuple[Year, ...]) -> tuple[Year, ...]:
    """The years summed up by decades, named after their first years."""
    found = sorted({year.year // 10 * 10 for year in years})
    return tuple(_sum(decade, [year for year in years if year.year // 10 * 10 == decade]) for decade in found)


def years_table(years: tuple[Year, ...]) -> Table:
    """One line a decade."""
    table = Table("", "days", "rainy", "foretold", "right", title="Fifty years, scored as files", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for decade in decades(years):
        counts = (decade.days, decade.rainy, decade.foretold)
        table.add_row(f"{decade.year}s", *(f"{count:,}" for count in counts), f"{decade.accuracy:.1%}")
    return table


def write_years_picture(years: tuple[Year, ...], file: Path) -> None:
    """Write the accuracy of each year; the format follows from the file's ending (PNG, SVG, PDF)."""
    # It takes a second to import: only where a picture is wanted.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    ax = figure.subplots()
    names = [year.year for year in years]
    ax.bar(names, [year.rainy / year.days for year in years], color=_QUIET, alpha=0.35, label="rainy days")
    ax.plot(names, [year.accuracy for year in years], color=_RIGHT, marker="o", markersize=3, label="right predictions")
    learned = _FIRST.year + TRAINING_END / 365.25
    ax.axvline(learned, color=_QUIET, linestyle=":", label="version 1 had seen what is before")
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.legend(loc="lower left", fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


def main() -> int:
    """Write the years, or show what became of them."""
    parser = argparse.ArgumentParser(prog="python -m examples.weather.years", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="write|show")
    write = commands.add_parser("write", help="write a file a year, and the model's bundle")
    write.add_argument("folder", type=Path)
    show = commands.add_parser("show", help="show scored years as a table and a picture")
    show.add_argument("scored", type=Path)
    show.add_argument("--picture", type=Path, metavar="FILE", help="also write a picture: PNG, SVG or PDF")
    options = parser.parse_args()
    if "folder" in options:
        days = Days.load()
        write_years(days, options.folder / "years")
        learned = days.between(days.first, TRAINING_END)
        make_bundle(learned, name="rain", directory=options.folder / "rain-bundle", created_at=datetime.now(UTC))
        return 0
    years = read_years(options.scored)
    Console().print(years_table(years))
    if options.picture:
        write_years_picture(years, options.picture)
    return 0


def _years(days: np.ndarray) -> np.ndarray:
    """The year of each day."""
    return np.array([(_FIRST + timedelta(days=day)).year for day in days.tolist()])


def _sum(name: int, years: list[Year]) -> Year:
    return Year(
        name,
        sum(year.days for year in years),
        sum(year.rainy for year in years),
        sum(year.foretold for year in years),
        sum(year.right for year in years),
    )


if __name__ == "__main__":
    sys.exit(main())
