"""`python -m tests.simulation.scaling`: figures of simulated surges, for the README."""

import sys
from statistics import median
from typing import Final

from millrace.core.control.autoscaler import decide_scale
from tests.simulation.scaling.river import Told, draw, flow

_SURGES: Final = 200
_FACTORS: Final = ((1.2, 2.0), (2.0, 3.0), (3.0, 4.0), (4.0, 5.0))


def main(surges: int) -> None:
    """Print one line for each size of surge."""
    found: dict[tuple[float, float], list[Told]] = {size: [] for size in _FACTORS}
    for seed in range(surges):
        surge = draw(seed)
        size = next(size for size in _FACTORS if surge.factor <= size[1])
        found[size].append(flow(surge, decide_scale, seed=seed))
    lines = ["| surge | surges | above the goal, median | worst | steps, median | most reversals |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for (low, high), told in found.items():
        late = [each.late_secs for each in told]
        steps = median(len(each.steps) for each in told)
        most = max(each.reversals for each in told)
        seconds = f"{median(late):.0f} s | {max(late):.0f} s"
        lines.append(f"| {low:g} to {high:g} times | {len(told)} | {seconds} | {steps:.0f} | {most} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else _SURGES)
