"""Counts and measures the same with delta and with cumulative temporality.

Each line on standard input is the URL of an OTLP/HTTP receiver: something is added, and both are exported there at once; a
line is printed when that is done.
"""

import sys

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource


class Pipeline:
    def __init__(self, name, temporality):
        self.exporter = OTLPMetricExporter(
            endpoint="http://127.0.0.1:9/v1/metrics", preferred_temporality={Counter: temporality, Histogram: temporality}
        )
        reader = PeriodicExportingMetricReader(self.exporter, export_interval_millis=3_600_000)
        self.provider = MeterProvider(metric_readers=[reader], resource=Resource.create({"service.name": name}))
        meter = self.provider.get_meter("temporality")
        self.counter = meter.create_counter("work")
        self.histogram = meter.create_histogram("took", unit="s")

    def export(self, url, step):
        self.counter.add(step, {"kind": "a"})
        self.histogram.record(0.01 * step)
        self.exporter._endpoint = f"{url}/v1/metrics"
        assert self.provider.force_flush()


pipelines = [Pipeline("delta", AggregationTemporality.DELTA), Pipeline("cumulative", AggregationTemporality.CUMULATIVE)]
for step, line in enumerate(sys.stdin, start=1):
    for pipeline in pipelines:
        pipeline.export(line.strip(), step)
    print("exported", flush=True)
