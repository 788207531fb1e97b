"""A vendor that takes OTLP over gRPC with TLS on both sides, built with Python's own gRPC.

The first argument is a directory, in which it leaves `ca.pem`, `client.pem` and `client.key`. Prints its port, and then a line
of JSON for each call: what the log records, spans and metrics in it say, its metadata, and the seconds that it had left. The
first call of all is told to come again in a second; a log record `refused` is. The process ends with its standard input.
"""

import datetime
import ipaddress
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


def certificate(name, issuer=None):
    """A certificate and its key in PEM; without an issuer, an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer[0].subject if issuer else subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def pem(certificate, key):
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), private


calls = 0


def take(context, said):
    global calls
    calls += 1
    metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
    print(json.dumps({"said": said, "metadata": metadata, "seconds": context.time_remaining()}), flush=True)
    if calls == 1:
        info = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1))
        status = status_pb2.Status(code=14, message="warming up")
        status.details.add().Pack(info)
        context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
        context.abort(grpc.StatusCode.UNAVAILABLE, "warming up")
    if "refused" in said:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such key: ä")


class Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def Export(self, request, context):
        take(context, [r.body.string_value for a in request.resource_logs for b in a.scope_logs for r in b.log_records])
        return logs_service_pb2.ExportLogsServiceResponse()


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        take(context, [s.trace_id.hex() for a in request.resource_spans for b in a.scope_spans for s in b.spans])
        return trace_service_pb2.ExportTraceServiceResponse()


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        take(context, [m.name for a in request.resource_metrics for b in a.scope_metrics for m in b.metrics])
        return metrics_service_pb2.ExportMetricsServiceResponse()


home = Path(sys.argv[1])
authority = certificate("authority")
(home / "ca.pem").write_bytes(pem(*authority)[0])
client = pem(*certificate("client", authority))
(home / "client.pem").write_bytes(client[0])
(home / "client.key").write_bytes(client[1])
own = pem(*certificate("localhost", authority))
server = grpc.server(ThreadPoolExecutor(4))
logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(), server)
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
believed = grpc.ssl_server_credentials([(own[1], own[0])], pem(*authority)[0], require_client_auth=True)
port = server.add_secure_port("127.0.0.1:0", believed)
server.start()
print(json.dumps({"port": port}), flush=True)
sys.stdin.read()
server.stop(None)
