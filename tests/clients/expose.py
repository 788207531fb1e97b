"""Exposes metrics of every type with Prometheus's own client, on the port of the first argument (0: any), which it prints.

A line on standard input is a command: `remove` takes a series away. The process ends with its standard input.
"""

import json
import sys

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary, start_http_server

registry = CollectorRegistry()
requests = Counter("requests", "Requests\nby \"path\".", ["path", "job"], registry=registry)
requests.labels('/a"b\\c\n', "own").inc(3, exemplar={"trace_id": "abc"})
requests.labels("/gone", "own").inc()
Gauge("temperature_celsius", "Temperature.", unit="celsius", registry=registry).set(-12.5)
Gauge("dropped_by_rule", "Not stored.", registry=registry).set(1)
latency = Histogram("latency_seconds", "Latency.", ["verb"], buckets=(0.1, 1, 2.5), registry=registry)
for value in (0.05, 0.7, 2, 99):
    latency.labels("get").observe(value, exemplar={"trace_id": f"t{value}"})
Summary("size_bytes", "Size.", registry=registry).observe(1e9)
Info("build", "Build.", registry=registry).info({"version": "1.2"})
Enum("state", "State.", states=["on", "off"], registry=registry).state("off")
Gauge("big", "Extremes.", ["n"], registry=registry).labels("inf").set(float("inf"))

server, _ = start_http_server(int(sys.argv[1]), addr="127.0.0.1", registry=registry)
print(json.dumps({"port": server.server_port}), flush=True)
for line in sys.stdin:
    if line.strip() == "remove":
        requests.remove("/gone", "own")
        print("done", flush=True)
