"""Makes lapwing find things: a pair it learns, then pairs it has never seen.

python new_pairs.py PORT learn SECONDS        one pair, steadily, for as long as lapwing learns
python new_pairs.py PORT appear FIRST COUNT   calls of COUNT new pairs, numbered from FIRST
"""

import sys
import time

import otlp


def main():
    sender = otlp.Sender(int(sys.argv[1]))
    if sys.argv[2] == "learn":
        end = time.monotonic() + float(sys.argv[3])
        while time.monotonic() < end:
            send(sender, "shop/front")
            time.sleep(0.25)
        return
    first, count = int(sys.argv[3]), int(sys.argv[4])
    # Twice, some windows' length apart, so that the second calls close the windows of the first.
    for _ in range(2):
        for number in range(first, first + count):
            send(sender, f"shop/stranger-{number}")
        send(sender, "shop/front")
        time.sleep(3)


def send(sender, source):
    request, _ = otlp.access_logs(3, source=source)
    sender.send_until_accepted("logs", request, time.monotonic() + 30)


if __name__ == "__main__":
    main()
