"""What a micro-batch costs: an upper-quantile latency curve, learned while scoring.

One curve per model version and device. Sizes fall into buckets that double (1, 2, 3-4, 5-8, ...); each bucket keeps a
histogram of durations on a logarithmic scale in which older observations fade, so that a slower machine is noticed
and a single pause is not. Curves are stored in the registry: a new replica starts warm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from math import floor, log10
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

BUCKETS: Final = 21
"""Sizes up to 2^20 records."""

_CELLS_PER_DECADE: Final = 12
_LOWEST_SECONDS: Final = 1e-5
_CELLS: Final = 7 * _CELLS_PER_DECADE
"""10 microseconds to 100 seconds; a cell is 21 % wide."""

_FADE: Final = 0.98
"""Weight kept by older observations of a bucket at each new one: it remembers about the last fifty."""


def size_bucket(records: int) -> int:
    """The bucket of a micro-batch of this many records.

    >>> [size_bucket(n) for n in (1, 2, 3, 4, 5, 1000, 1024)]
    [0, 1, 2, 2, 3, 10, 10]
    """
    return min(max(records - 1, 0).bit_length(), BUCKETS - 1)


@dataclass(slots=True)
class LatencyCurve:
    """Upper-quantile duration by micro-batch size. Mutable, for one thread.

    Attributes:
        quantile: Which quantile `predict` answers, between 0 and 1.
    """

    quantile: float = 0.95
    _weights: NDArray[np.float64] = field(default_factory=lambda: np.zeros((BUCKETS, _CELLS)), repr=False)
    # A door asks several times for each micro-batch, and observes more rarely.
    _predicted: dict[int, timedelta] = field(default_factory=dict, init=False, repr=False, compare=False)

    def observe(self, records: int, duration: timedelta) -> None:
        """Learn that a micro-batch of this size took this long."""
        row = self._weights[size_bucket(records)]
        row *= _FADE
        row[_cell(duration.total_seconds())] += 1.0
        self._predicted.clear()

    def predict(self, records: int) -> timedelta:
        """How long a micro-batch of this size takes, at the curve's quantile.

        Never falls with size. A size never seen is taken from its nearest seen neighbours: from the smaller one in
        proportion, but never above the larger one. Zero while nothing has been seen.
        """
        bucket = size_bucket(records)
        if (known := self._predicted.get(bucket)) is None:
            known = self._predicted[bucket] = self._predict(bucket)
        return known

    def _predict(self, bucket: int) -> timedelta:
        seen = np.flatnonzero(self._weights.any(axis=1)).tolist()
        smaller = [each for each in seen if each <= bucket]
        larger = [each for each in seen if each > bucket]
        if not seen:
            return timedelta(0)
        if not smaller:
            return timedelta(seconds=self._seconds(larger[0]))
        known = max(map(self._seconds, smaller))
        seconds = known * 2.0 ** (bucket - smaller[-1])
        if larger:
            seconds = min(seconds, max(known, self._seconds(larger[0])))
        return timedelta(seconds=seconds)

    def largest_within(self, budget: timedelta, *, at_most: int) -> int:
        """The largest micro-batch that is predicted to fit the budget; 0 when not even one record does."""
        if self.predict(at_most) <= budget:
            return at_most
        fitting = [1 << bucket for bucket in range(size_bucket(at_most)) if self.predict(1 << bucket) <= budget]
        return fitting[-1] if fitting else 0

    def to_dict(self) -> dict[str, object]:
        """A JSON form: only the cells that hold something."""
        rows, cells = np.nonzero(self._weights > 1e-3)
        return {
            "quantile": self.quantile,
            "cells": [
                [int(row), int(cell), round(float(self._weights[row, cell]), 3)]
                for row, cell in zip(rows, cells, strict=True)
            ],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, object], *, quantile: float) -> Self:
        """Read a curve that `to_dict` wrote, to answer another quantile if need be. Unreadable cells are dropped."""
        curve = cls(quantile)
        cells = document.get("cells", [])
        for entry in cells if isinstance(cells, list) else []:
            match entry:
                case [int(row), int(cell), float() | int() as weight] if 0 <= row < BUCKETS and 0 <= cell < _CELLS:
                    curve._weights[row, cell] = float(weight)
                case _:
                    continue
        return curve

    def _seconds(self, bucket: int) -> float:
        """Upper edge of the cell that holds the quantile."""
        row = self._weights[bucket]
        cumulative = np.cumsum(row)
        cell = int(np.searchsorted(cumulative, self.quantile * cumulative[-1]))
        return float(_LOWEST_SECONDS * 10 ** ((min(cell, _CELLS - 1) + 1) / _CELLS_PER_DECADE))


def _cell(seconds: float) -> int:
    if seconds <= _LOWEST_SECONDS:
        return 0
    return min(floor(log10(seconds / _LOWEST_SECONDS) * _CELLS_PER_DECADE), _CELLS - 1)


def backoff(attempt: int, *, first: timedelta, longest: timedelta) -> timedelta:
    """How long to wait before attempt `attempt` (1 is the first retry): doubling, bounded, without jitter.

    >>> [backoff(n, first=timedelta(seconds=1), longest=timedelta(seconds=5)).seconds for n in (1, 2, 3, 4)]
    [1, 2, 4, 5]
    """
    return min(first * (1 << min(attempt - 1, 30)), longest)
