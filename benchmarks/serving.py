"""Images per second of a server that runs on this machine, and how long its answers take.

python -m benchmarks.serving [--port 5001] [--clients 50] [--images 8] [--seconds 20]

Start `ganline serve`, with or without --ray, first. Every client asks for its own seeds, one
request after another on one connection. Only this machine is ever asked, for at most ten minutes.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import threading
import time
from collections import Counter

HOST = "127.0.0.1"
LIMIT_S = 600.0
PROMPT = "a large red ring on a blue background"


def main(argv: list[str] | None = None) -> int:
    """Ask for so many seconds, print what came; return 1 when an answer was no image."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--images", type=int, default=8, help="of each request")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args(argv)
    seconds = min(options.seconds, LIMIT_S)
    found = measure(options.port, options.clients, options.images, seconds)
    print("  ".join(f"{name} {value}" for name, value in found.items()))
    return 0 if set(found["statuses"]) == {200} else 1


def measure(port: int, clients: int, images: int, seconds: float) -> dict:
    """Return images per second, the latencies in seconds, the statuses, and the load before."""
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    lock, load = threading.Lock(), os.getloadavg()[0]
    started = time.monotonic()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=120)
        seed = number * 1_000_000
        while time.monotonic() < started + seconds:
            asked = time.monotonic()
            body = json.dumps({"prompt": PROMPT, "seed": seed, "n": images})
            seed += images
            try:
                connection.request("POST", "/v1/images", body)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except OSError:
                connection.close()
                status = 0
            with lock:
                statuses[status] += 1
                latencies.append(time.monotonic() - asked)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.monotonic() - started
    latencies.sort()
    return {
        "images_per_s": round(images * statuses[200] / spent, 1),
        "requests": statuses.total(),
        "median_s": round(latencies[len(latencies) // 2], 3),
        "longest_s": round(latencies[-1], 3),
        "statuses": dict(statuses),
        "load_before": round(load, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
