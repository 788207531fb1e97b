"""Sends a server's span `checkout` of the service `shop`, which failed, with a client of Zipkin or Jaeger to MONOCLE_ADDRESS.

    zipkin_jaeger.py zipkin|zipkin-proto|jaeger-http|jaeger-grpc        prints {"trace": ID}
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
    from py_zipkin.zipkin import zipkin_server_span

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
        outer.update_binary_annotations({"card": "visa", "error": "declined"})
        outer.add_annotation("retry")
        trace = outer.zipkin_attrs.trace_id
    print(json.dumps({"trace": trace}))
elif kind == "jaeger-http":
    # The generated code of Jaeger's own client, without the agent that it would send to.
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
else:
    import tempfile

    import grpc
    from grpc_tools import protoc

    here, generated = os.path.dirname(os.path.abspath(__file__)), tempfile.mkdtemp()
    failed = protoc.main(["", f"-I{here}", f"--python_out={generated}", f"--grpc_python_out={generated}", f"{here}/jaeger.proto"])
    assert failed == 0, "jaeger.proto does not compile"
    sys.path.insert(0, generated)
    import jaeger_pb2 as pb
    import jaeger_pb2_grpc

    trace = os.urandom(16)
    tags = [pb.KeyValue(key="span.kind", v_str="server"), pb.KeyValue(key="error", v_type=1, v_bool=True)]
    now = pb.Time(seconds=int(time.time()))
    span = pb.Span(trace_id=trace, span_id=b"12345678", operation_name="checkout", start_time=now, duration=pb.Time(nanos=5000), tags=tags)
    batch = pb.Batch(spans=[span], process=pb.Process(service_name="shop"))
    jaeger_pb2_grpc.CollectorServiceStub(grpc.insecure_channel(address)).PostSpans(pb.PostSpansRequest(batch=batch), timeout=30)
    print(json.dumps({"trace": trace.hex()}))
