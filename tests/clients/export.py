"""Sends one trace, three metrics and one log record with OpenTelemetry's own exporters, configured by OTEL_* alone.

    export.py grpc|http        prints {"trace": ID, "seconds": TIME} of what it has sent
"""
import json
import sys
import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

if sys.argv[1] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

traces = TracerProvider()
traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
logs = LoggerProvider()
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
metrics = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])

meter = metrics.get_meter("shop")
meter.create_counter("orders", unit="1").add(3, {"paid": True})
meter.create_histogram("order.duration", unit="s").record(0.25)
meter.create_up_down_counter("open.orders", unit="{order}").add(2)

tracer = traces.get_tracer("shop", "1.2.3")
with tracer.start_as_current_span("checkout", kind=SpanKind.SERVER, attributes={"items": 2, "total": 9.5}) as root:
    with tracer.start_as_current_span("charge", kind=SpanKind.CLIENT, attributes={"cards": ["visa", "amex"], "3ds": False}) as span:
        span.add_event("declined", {"attempt": 1})
        span.set_status(Status(StatusCode.ERROR, "card declined"))
        record = LogRecord(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body="card declined for order 17",
            attributes={"order": 17},
        )
        logs.get_logger("shop").emit(record)

for provider in (traces, logs, metrics):
    provider.force_flush()
    provider.shutdown()
print(json.dumps({"trace": format(root.get_span_context().trace_id, "032x"), "seconds": time.time()}))
