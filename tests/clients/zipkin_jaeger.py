"""Sends one span with a foreign client.

    zipkin_jaeger.py zipkin|zipkin-proto|jaeger-http|jaeger-grpc URL        prints {"trace": ID}
"""
import json
import os
import sys
import time

kind, address = sys.argv[1], os.environ["MONOCLE_ADDRESS"]

if kind.startswith("zipkin"):
    import urllib.request

    from py_zipkin import Encoding
    from py_zipkin.transport import BaseTransportHandler
    from py_zipkin.zipkin import zipkin_client_span, zipkin_server_span

    form = Encoding.V2_PROTO3 if kind == "zipkin-proto" else Encoding.V2_JSON

    class Transport(BaseTransportHandler):
        def get_max_payload_bytes(self):
            return None

        def send(self, payload):
            media = "application/x-protobuf" if form == Encoding.V2_PROTO3 else "application/json"
            body = payload if isinstance(payload, bytes) else payload.encode()
            request = urllib.request.Request(f"http://{address}/api/v2/spans", data=body, headers={"Content-Type": media})
            with urllib.request.urlopen(request) as answer:
                assert answer.status == 202, answer.status

    with zipkin_server_span(
        service_name="shop", span_name="checkout", transport_handler=Transport(), encoding=form, port=8080, sample_rate=100.0,
        use_128bit_trace_id=True,
    ) as outer:
        with zipkin_client_span(service_name="shop", span_name="charge") as span:
            span.update_binary_annotations({"card": "visa", "error": "declined"})
            span.add_annotation("retry")
        trace = outer.zipkin_attrs.trace_id
    print(json.dumps({"trace": trace}))
elif kind == "jaeger-http":
    # The client library of Jaeger needs generated code that Thrift of today still runs, without its agent.
    from jaeger_client.thrift_gen.jaeger import ttypes
    from thrift.protocol import TBinaryProtocol
    from thrift.transport import THttpClient, TTransport

    micros = int(time.time() * 1e6)
    trace = micros
    tags = [
        ttypes.Tag(key="span.kind", vType=ttypes.TagType.STRING, vStr="server"),
        ttypes.Tag(key="error", vType=ttypes.TagType.BOOL, vBool=True),
    ]
    span = ttypes.Span(
        traceIdLow=trace, traceIdHigh=0, spanId=7, parentSpanId=0, operationName="checkout", flags=1, startTime=micros, duration=5000,
        tags=tags, logs=[], references=[],
    )
    process = ttypes.Process(serviceName="shop", tags=[])
    client = THttpClient.THttpClient(f"http://{address}/api/traces")
    client.setCustomHeaders({"Content-Type": "application/x-thrift"})
    buffer = TTransport.TMemoryBuffer()
    ttypes.Batch(process=process, spans=[span]).write(TBinaryProtocol.TBinaryProtocol(buffer))
    client.write(buffer.getvalue())
    client.flush()
    assert client.code == 202, client.code
    print(json.dumps({"trace": f"{trace:032x}"}))
