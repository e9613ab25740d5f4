"""Reads the OTLP recordings of datasets/: frames of `[u32 big-endian length][request]` in a zstd stream."""

import heapq
import pathlib

import zstandard

WINDOW = 128 << 20


def frames(path):
    """The requests of one recording, in file order."""
    data = _decompressed(path)
    position = 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        position += 4
        yield data[position : position + length]
        position += length


def merged(folder, seconds=None):
    """(arrival in ns, `traces` or `logs`, request) of both signals of FOLDER, by arrival."""
    folder = pathlib.Path(folder)

    def one(signal):
        arrivals = _decompressed(folder / f"{signal}.arrivals.tsv.zst").decode().splitlines()
        for line, frame in zip(arrivals, frames(folder / f"{signal}.otlp.pb.zst"), strict=True):
            yield int(line.split("\t")[0]), signal, frame

    begin = None
    for arrival, signal, frame in heapq.merge(one("traces"), one("logs"), key=lambda f: f[:2]):
        begin = begin or arrival
        if seconds is not None and arrival > begin + seconds * 1_000_000_000:
            return
        yield arrival, signal, frame


def _decompressed(path):
    with open(path, "rb") as file:
        return zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(file).read()
