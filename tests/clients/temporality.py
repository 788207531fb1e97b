"""Counts and measures the same with delta and with cumulative temporality.

Each line on standard input is the URL of an OTLP/HTTP receiver: something is added, and both are exported there at once; a
line is printed when that is done.
"""

import sys

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource


class Aimed(MetricExporter):
    """Exports to whichever receiver it was aimed at last."""

    def __init__(self, temporality):
        self.preferred = {Counter: temporality, Histogram: temporality}
        super().__init__(preferred_temporality=self.preferred)
        self.receiver = None

    def aim(self, url):
        self.receiver = OTLPMetricExporter(endpoint=f"{url}/v1/metrics", preferred_temporality=self.preferred)

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        return self.receiver.export(metrics_data, timeout_millis=timeout_millis, **kwargs)

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        pass


class Pipeline:
    def __init__(self, name, temporality):
        self.exporter = Aimed(temporality)
        reader = PeriodicExportingMetricReader(self.exporter, export_interval_millis=3_600_000)
        resource = Resource.create({"service.name": name})
        self.provider = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
        meter = self.provider.get_meter("temporality")
        self.counter = meter.create_counter("work")
        self.histogram = meter.create_histogram("took", unit="s")

    def export(self, url, step):
        self.counter.add(step, {"kind": "a"})
        self.histogram.record(0.01 * step)
        self.exporter.aim(url)
        assert self.provider.force_flush()


pipelines = [Pipeline("delta", AggregationTemporality.DELTA), Pipeline("cumulative", AggregationTemporality.CUMULATIVE)]
for step, line in enumerate(sys.stdin, start=1):
    for pipeline in pipelines:
        pipeline.export(line.strip(), step)
    print("exported", flush=True)
