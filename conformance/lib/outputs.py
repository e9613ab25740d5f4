"""Reads what lapwing writes, with other people's readers: Parquet by pyarrow, findings, metrics."""

import collections
import json
import pathlib
import re
import urllib.request

import pyarrow as pa
import pyarrow.dataset


def archive_files(folder) -> list[pathlib.Path]:
    """Every finished Parquet file below FOLDER."""
    return sorted(pathlib.Path(folder).rglob("*.parquet"))


def archive(folder, columns=None) -> pa.Table:
    """The archive without lapwing's own canaries as one table; an empty one when there are no files yet."""
    files = archive_files(folder)
    if not files:
        return pa.table({})
    sent_by_others = pyarrow.dataset.field("cluster") != "lapwing-canary"
    return pyarrow.dataset.dataset(files, format="parquet").to_table(columns=columns, filter=sent_by_others)


def pair_counts(table: pa.Table) -> dict:
    """Rows per (signal, source, destination)."""
    columns = [table[name].to_pylist() for name in ("signal", "source", "destination")]
    return dict(collections.Counter(zip(*columns)))


def span_ids(folder) -> tuple[set, set, int]:
    """Distinct span ids of span rows and of log rows, and the number of rows."""
    table = archive(folder, ["signal", "span_id"])
    if table.num_rows == 0:
        return set(), set(), 0
    spans, logs = set(), set()
    for signal, span_id in zip(table["signal"].to_pylist(), table["span_id"].to_pylist()):
        (spans if signal.startswith("span") else logs).add(span_id)
    return spans, logs, table.num_rows


def findings(path) -> list[dict]:
    """Every finding revision of an NDJSON file, in the order written."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def metrics(port) -> dict[str, float]:
    """lapwing's own metrics: `name{labels}` -> value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    values = {}
    for line in text.splitlines():
        match = re.match(r"([a-zA-Z_:][^ ]*(?:\{.*\})?) ([^ ]+)", line)
        if match and not line.startswith("#"):
            values[match[1]] = float(match[2])
    return values


def metric_sum(values: dict[str, float], name: str, **labels) -> float:
    """Sum of a metric over every series that has these labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(
        value
        for series, value in values.items()
        if series.split("{")[0] == name and all(label in series for label in wanted)
    )
