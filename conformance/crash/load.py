"""Sends from several threads until SIGTERM and writes down every span id that was acknowledged.

python load.py GRPC_PORT OUT.json
"""

import json
import signal
import sys
import threading
import time

import grpc

import otlp

PLANTED = "crash.canary@example.org"


def main():
    port, out = sys.argv[1:]
    stop, acknowledged, unanswered = threading.Event(), [], []
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def send():
        sender = otlp.Sender(port)
        while not stop.is_set():
            request, ids = otlp.spans(20)
            for span in request.resource_spans[0].scope_spans[0].spans:
                otlp.attribute(span, "enduser.id", PLANTED)
            try:
                sender.send("traces", request, timeout=5)
                acknowledged.extend(ids)
            except grpc.RpcError:
                unanswered.extend(ids)
                time.sleep(0.05)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(out, "w") as file:
        json.dump(
            {
                "planted": PLANTED,
                "acknowledged": [i.hex() for i in acknowledged],
                "unanswered": [i.hex() for i in unanswered],
            },
            file,
        )


if __name__ == "__main__":
    main()
