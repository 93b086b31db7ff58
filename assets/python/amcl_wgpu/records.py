"""What a run's folder holds, as Python's own types."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .program import Folder


def metrics(run: Folder, kind: str | None = None) -> list[dict[str, Any]]:
    """The records of `metrics.jsonl`, in their order; with `kind` (`step`, `epoch`, `eval`, ...) those alone.

    The run may still be under way: a last line that is not yet complete is left out. Any other line that is no record
    raises ValueError with its number.
    """
    path = Path(run, "metrics.jsonl")
    lines = path.read_text(encoding="utf-8").split("\n")
    records = []
    # What stands behind the last line's end is being written.
    for number, line in enumerate(lines[:-1], 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if kind is None or record.get("kind") == kind:
            records.append(record)
    return records


def epochs(run: Folder) -> list[dict[str, float | None]]:
    """The lines of `metrics.csv`: an epoch each. What was not measured in an epoch is None."""
    with Path(run, "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{key: float(text) if text else None for key, text in row.items()} for row in csv.DictReader(file)]


def summary(run: Folder) -> dict[str, Any]:
    """`summary.json`: accuracy, seconds, memory and the weights' checksum of a finished run."""
    return json.loads(Path(run, "summary.json").read_text(encoding="utf-8"))


def columns(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Records by column: lists; where numpy is installed, columns of numbers are its arrays, and None is NaN.

    `columns(epochs(run))` is what plotting libraries and `pandas.DataFrame` take.
    """
    rows = list(records)
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: [row.get(name) for row in rows] for name in names}
    try:
        import numpy
    except ImportError:
        return found

    def array(values: list[Any]) -> Any:
        if all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in values):
            return numpy.array([float("nan") if v is None else v for v in values])
        return values

    return {name: array(values) for name, values in found.items()}
