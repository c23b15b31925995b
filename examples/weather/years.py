"""The batch chapter: all fifty years as files, scored with one command, shown as a table and a picture.

    python -m examples.weather.years write FOLDER       # FOLDER/years, one file a year, and FOLDER/rain-bundle
    python -m examples.weather.years show SCORED        # what `millrace batch run` made of them

The guide `docs/guides/score-years-of-files.md` tells what lies between the two; `make demo` does all of it.
"""

import argparse
import json
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
from examples.weather.tally import CHANGE
from examples.weather.training import TRAINING_END, make_bundle
from millrace.core.errors import FatalError
from millrace.process.settings import KafkaSettings

_LOOK_SECS: Final = 0.1
_FIRST: Final = date(1949, 1, 1)
_RIGHT, _WRONG, _QUIET = "#0353c9", "#c2331d", "#5a636e"


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

    @property
    def dry(self) -> float:
        """The share of days without rain: who never foretells any is right so often."""
        return 1 - self.rainy / self.days


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
    """One line a decade, and one for all."""
    table = Table(
        *("", "days", "rainy", "foretold", "right", "always dry"),
        title="Fifty years, scored as files",
        title_justify="left",
        show_footer=True,
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for decade in decades(years):
        table.add_row(f"{decade.year}s", *_shown(decade))
    for column, text in zip(table.columns, ("all", *_shown(_sum(0, list(years)))), strict=True):
        column.footer = text
    return table


def _shown(year: Year) -> tuple[str, ...]:
    counts = (year.days, year.rainy, year.foretold)
    return (*(f"{count:,}" for count in counts), f"{year.accuracy:.1%}", f"{year.dry:.1%}")


def scored_by(scored: Path) -> str:
    """The name and the version of the model that scored a folder."""
    manifest = json.loads((scored / "_manifest.json").read_text())
    return str(manifest["job"]["model"])


def write_years_picture(years: tuple[Year, ...], model: str, file: Path) -> None:
    """Write how often the model was right in each year, beside who always says dry; PNG, SVG or PDF by the ending."""
    # It takes a second to import: only where a picture is wanted.
    from matplotlib import rc_context  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    ax = figure.subplots()
    names, right, dry = zip(*((year.year, year.accuracy, year.dry) for year in years), strict=True)
    better = np.array(right) >= np.array(dry)
    for where, colour in ((better, _RIGHT), (~better, _WRONG)):
        ax.fill_between(names, right, dry, where=where, interpolate=True, color=colour, alpha=0.12, linewidth=0)
    ax.plot(names, dry, color=_QUIET, linewidth=1.2, linestyle="--")
    ax.plot(names, right, color=_RIGHT, linewidth=1.6, marker="o", markersize=3.5)
    for value, text, colour in ((right[-1], model, _RIGHT), (dry[-1], "always dry", _QUIET)):
        ax.annotate(text, (names[-1], value), (8, 0), textcoords="offset points", va="center", color=colour, fontsize=9)
    if model.endswith("/1"):  # what later versions had seen is told by their own records
        ax.axvspan(_FIRST.year - 0.5, _year(TRAINING_END), color=_QUIET, alpha=0.08, linewidth=0)
        ax.text(_FIRST.year, 0.415, "it had seen these", color=_QUIET, fontsize=9)
    ax.axvline(_year(CHANGE), color=_WRONG, linewidth=1, linestyle=":")
    ax.text(_year(CHANGE) + 0.4, 0.955, "the measurements change", color=_WRONG, fontsize=9)
    ax.set_title(f"Fifty years of files, scored by {model}: days on which it was right", loc="left", fontsize=11)
    ax.set_xlim(_FIRST.year - 0.5, names[-1] + 4)
    ax.set_ylim(0.4, 1)
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.grid(visible=True, axis="y", color="#d9dee4", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    metadata = {"Date": None} if file.suffix == ".svg" else None
    with rc_context({"svg.hashsalt": "weather"}):  # the same picture is the same file
        figure.savefig(file, dpi=120, metadata=metadata)


def _year(day: int) -> float:
    """A day of the replay as a year and its part."""
    return _FIRST.year + day / 365.25


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
        write_years_picture(years, scored_by(options.scored), options.picture)
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
