#!/usr/bin/python3 -S
"""Poses as `vllm serve`: loads, answers /health and any POST, and misbehaves as /etc/fake/NAME.json says.

exit: leave with this status after `after` seconds; never: load for ever; stubborn: ignore SIGTERM; lingers:
end at SIGTERM once no client is connected any more; load and answer: seconds.
Every start and every readiness is noted in $HOME/events with the monotonic clock.
"""

import http.server
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path


def note(event: str) -> None:
    with Path(os.environ["HOME"], "events").open("a") as events:
        events.write(f"{time.monotonic():.3f} {event} {NAME} {os.getpid()}\n")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(ORDERS.get("answer", 0.05))
        text = json.dumps({"port": PORT, "key": self.headers["Authorization"]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


if sys.argv[1:] == ["--version"]:
    sys.stdout.write("0.33.0\n")
    sys.exit()
NAME = sys.argv[sys.argv.index("--served-model-name") + 1]
PORT = int(sys.argv[sys.argv.index("--port") + 1])
HOST = sys.argv[sys.argv.index("--host") + 1]
FILE = Path(f"/etc/fake/{NAME}.json")
ORDERS = json.loads(FILE.read_text()) if FILE.exists() else {}
note("begin")
if ORDERS.get("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    # As EngineCore does: a process of its own, which must not outlive the unit.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(10_000)
if "exit" in ORDERS:
    time.sleep(ORDERS.get("after", 0))
    sys.exit(ORDERS["exit"])
time.sleep(10_000 if ORDERS.get("never") else ORDERS.get("load", 0.5))
server = http.server.ThreadingHTTPServer((HOST, PORT), Handler)
if ORDERS.get("lingers"):
    # Waiting for the threads of its connections is what ends it.
    server.daemon_threads = False
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
note("ready")
server.serve_forever()
server.server_close()
