"""Sends traces and access logs to the Collector at an even pace and writes down what it accepted.

python load.py PORT SECONDS OUT.json     until SECONDS are over or SIGTERM; 40 requests of 25 a second
python load.py PORT --recording RAW_DIR OUT.bin
    sends a recording once, in order of arrival, and writes the same requests as plain frames
"""

import json
import signal
import sys
import time

import otlp
import recordings

PER_REQUEST, REQUESTS_PER_SECOND = 25, 40


def main():
    sender = otlp.Sender(int(sys.argv[1]))
    if sys.argv[2] == "--recording":
        replay(sender, sys.argv[3], sys.argv[4])
    else:
        load(sender, float(sys.argv[2]), sys.argv[3])


def load(sender, seconds, out):
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    ids = {"traces": [], "logs": []}
    begin, number = time.monotonic(), 0
    while not stopped and time.monotonic() < begin + seconds:
        name, make = (("traces", otlp.spans), ("logs", otlp.access_logs))[number % 2]
        request, made = make(PER_REQUEST)
        sender.send(name, request)
        ids[name] += [i.hex() for i in made]
        number += 1
        time.sleep(max(0, begin + number / REQUESTS_PER_SECOND - time.monotonic()))
    with open(out, "w") as file:
        json.dump(ids, file)


def replay(sender, folder, out):
    with open(out, "wb") as file:
        count = 0
        for _, name, frame in recordings.merged(folder):
            sender.send(name, frame)
            file.write(len(frame).to_bytes(4, "big") + frame)
            count += 1
    print(f"{count} recorded requests sent")


if __name__ == "__main__":
    main()
