"""Reads the archive of a replay with three readers that know nothing of lapwing.

    python verify.py ARCHIVE SUMMARY.json PAIRS.txt LOG_RECORDS SPANS

PAIRS.txt is the dataset's own table of access-log records per pair, derived without lapwing.
"""

import collections
import json
import pathlib
import sys

import duckdb
import pandas
import pyarrow.parquet

from checks import check, equal, finish
import outputs


def main():
    folder, summary_path, pairs_path = map(pathlib.Path, sys.argv[1:4])
    summary = json.loads(summary_path.read_text())
    files = outputs.archive_files(folder)
    check("there are Parquet files, in one folder per hour", files and all(f.parent != folder for f in files))
    footers = sum(pyarrow.parquet.ParquetFile(file).metadata.num_rows for file in files)
    table = outputs.archive(folder)
    equal("pyarrow reads as many rows as the footers say", table.num_rows, footers)
    equal(
        "no row is lost or invented: spans and log records of the recording",
        table.num_rows,
        sum(map(int, sys.argv[4:6])),
    )

    files_sql = f"read_parquet('{folder}/**/*.parquet')"
    counted = duckdb.sql(f"SELECT count(*) FROM {files_sql}").fetchall()[0][0]
    equal("DuckDB counts the same rows", counted, table.num_rows)
    by_duckdb = {
        row[:3]: row[3]
        for row in duckdb.sql(f"SELECT signal, source, destination, count(*) FROM {files_sql} GROUP BY ALL").fetchall()
    }
    by_pyarrow = outputs.pair_counts(table)
    equal("DuckDB and pyarrow agree on the calls per signal and pair", by_duckdb, by_pyarrow)
    frame = pandas.concat([pandas.read_parquet(file) for file in files])
    equal("pandas reads as many rows", len(frame), table.num_rows)
    # A missing source stays missing: pandas would leave it out of a group otherwise.
    grouped = frame.groupby(["signal", "source", "destination"], dropna=False, observed=True).size()
    by_pandas = {tuple(None if pandas.isna(part) else part for part in key): int(n) for key, n in grouped.items()}
    equal("pandas agrees on them too", by_pandas, by_pyarrow)

    equal("lapwing's summary has as many calls", summary["calls"], table.num_rows)
    pairs = {
        (f"{source}->{destination}", signal): n
        for (signal, source, destination), n in by_duckdb.items()
        if source is not None and destination is not None
    }
    said = {(pair, signal): n for pair, signals in summary["calls_by_pair"].items() for signal, n in signals.items()}
    equal("lapwing's summary counts the same calls per pair and signal", said, pairs)
    independent_oracle(pairs_path, by_duckdb)
    times(files_sql)
    finish()


def independent_oracle(path, counts):
    """The table names who logged: the source's proxy (src), the destination's (dst), or its listener.

    A service account that no workload has stands there as `sa:NAMESPACE/ACCOUNT`.
    """
    expected = collections.Counter()
    for line in path.read_text().splitlines():
        n, reporter, source, destination = line.split()
        signal = "log_client" if reporter == "src" else "log_server"
        expected[signal, source.removeprefix("sa:"), destination] += int(n)
    wrong = {key: (counts.get(key, 0), n) for key, n in expected.items() if counts.get(key, 0) != n}
    check(
        f"access logs per pair are those of the dataset's own table ({len(expected)} rows)",
        not wrong,
        f"(seen, expected): {wrong}",
    )


def times(files_sql):
    row = duckdb.sql(
        f"SELECT min(started_at), max(started_at), count(*) FILTER (received_at IS NULL), typeof(min(started_at)) FROM {files_sql}"
    ).fetchall()[0]
    check("times read as timestamps with time zone", row[3] == "TIMESTAMP WITH TIME ZONE", row[3])
    equal("every call has the time it was received", row[2], 0)
    check(
        "the calls span the six minutes of the recording",
        300 < (row[1] - row[0]).total_seconds() < 420,
        str(row[1] - row[0]),
    )


if __name__ == "__main__":
    main()
