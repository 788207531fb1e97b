"""Asks the same questions over HTTP and over gRPC, and compares the answers in proto3's JSON form.

    stream.py HOST:PORT        prints {"compared": {METHOD: N}, "errors": {NAME: CODE}}

MONOCLE_TIME is a second in the middle of the data.
"""
import json
import os
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import grpc
from google.protobuf import json_format
from grpc_tools import protoc

here = os.path.dirname(os.path.abspath(__file__))
generated = tempfile.mkdtemp()
failed = protoc.main(["", f"-I{here}", f"--python_out={generated}", f"--grpc_python_out={generated}", f"{here}/tempo.proto"])
assert failed == 0, "tempo.proto does not compile"
sys.path.insert(0, generated)
import tempo_pb2 as pb  # noqa: E402
import tempo_pb2_grpc  # noqa: E402

address, time = sys.argv[1], int(os.environ["MONOCLE_TIME"])
start, end = time - 1800, time + 1800
channel = grpc.insecure_channel(address)
stub = tempo_pb2_grpc.StreamingQuerierStub(channel)


def http(path, **parameters):
    url = f"http://{address}{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def streamed(method, request):
    """All messages as one: lists joined, the rest of the last."""
    whole = None
    for message in getattr(stub, method)(request, timeout=60):
        assert message.HasField("metrics"), f"{method}: no metrics"
        if whole is not None:
            for field in ("status", "message"):
                if field in message.DESCRIPTOR.fields_by_name:
                    whole.ClearField(field)
            message.ClearField("metrics")
            whole.MergeFrom(message)
        else:
            whole = message
    assert whole is not None, f"{method}: no message"
    return whole


def plain(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def expected(kind, answer):
    """The HTTP answer, which must be of the message's form to the field, as a message would be written."""
    return plain(json_format.ParseDict(answer, kind(), ignore_unknown_fields=False))


compared = {}


def same(method, request, answer):
    got = streamed(method, request)
    wanted = expected(type(got), answer)
    got = plain(got)
    assert got == wanted, f"{method} {request}\ngRPC {got}\nHTTP {wanted}"
    size = max((len(v) for v in got.values() if isinstance(v, list)), default=0)
    compared[method] = compared.get(method, 0) + size


queries = [
    "{}",
    '{ status = error } | select(name, span.http.response.status_code, resource.service.name)',
    "{} | by(resource.service.name) | count() > 1",
    '{ name = "nothing has this name" }',
]
for query in queries:
    for limit, spss in ((20, 3), (400, 20)):
        request = pb.SearchRequest(Query=query, Limit=limit, SpansPerSpanSet=spss, start=start, end=end)
        same("Search", request, http("/api/search", q=query, limit=limit, spss=spss, start=start, end=end))
request = pb.SearchRequest(Tags={"service.name": os.environ["MONOCLE_SERVICE"]}, MinDurationMs=1, start=start, end=end)
tags = f'service.name="{os.environ["MONOCLE_SERVICE"]}"'
same("Search", request, http("/api/search", tags=tags, minDuration="1ms", start=start, end=end))

for scope in ("", "span", "resource", "intrinsic"):
    request = pb.SearchTagsRequest(scope=scope, start=start, end=end, maxTagsPerScope=5000)
    same("SearchTags", request, http("/api/search/tags", scope=scope, limit=5000, start=start, end=end))
    same("SearchTagsV2", request, http("/api/v2/search/tags", scope=scope, limit=5000, start=start, end=end))
for name, query in (("resource.service.name", ""), ("status", ""), ("name", "{ status = error }"), ("span.http.response.status_code", "")):
    request = pb.SearchTagValuesRequest(tagName=name, query=query, start=start, end=end)
    path = f"/api/v2/search/tag/{urllib.parse.quote(name)}/values"
    same("SearchTagValuesV2", request, http(path, q=query, start=start, end=end))
request = pb.SearchTagValuesRequest(tagName="service.name", start=start, end=end)
same("SearchTagValues", request, http("/api/search/tag/service.name/values", start=start, end=end))

for query in ("{} | rate() by (resource.service.name)", "{} | quantile_over_time(duration, .5, .9)", "{} | rate()"):
    request = pb.QueryRangeRequest(query=query, start=start * 10**9, end=end * 10**9, step=60 * 10**9, exemplars=5)
    same("MetricsQueryRange", request, http("/api/metrics/query_range", q=query, start=start, end=end, step="60s", exemplars=5))
    request = pb.QueryRangeRequest(query=query, start=start * 10**9, end=end * 10**9, maxSeries=1)
    same("MetricsQueryRange", request, http("/api/metrics/query_range", q=query, start=start, end=end, maxSeries=1))
    request = pb.QueryInstantRequest(query=query, start=start * 10**9, end=end * 10**9)
    same("MetricsQueryInstant", request, http("/api/metrics/query", q=query, start=start, end=end))

errors = {}


def fails(name, call):
    try:
        for _ in call:
            pass
        errors[name] = "OK"
    except grpc.RpcError as error:
        errors[name] = f"{error.code().name}: {error.details()}"


def http_error(path, **parameters):
    try:
        http(path, **parameters)
        return "OK"
    except urllib.error.HTTPError as error:
        return error.read().decode()


fails("parse", stub.Search(pb.SearchRequest(Query="{ .a = ", start=start, end=end)))
errors["parse over HTTP"] = http_error("/api/search", q="{ .a = ", start=start, end=end)
fails("range", stub.Search(pb.SearchRequest(Query="{}", start=start)))
fails("metrics", stub.MetricsQueryRange(pb.QueryRangeRequest(query="{}", start=start * 10**9, end=end * 10**9)))
fails("method", channel.unary_stream("/tempopb.StreamingQuerier/Nothing", lambda m: b"", lambda b: b)(None))
fails("health", stub.Search(pb.SearchRequest(Query="{}", Limit=1)))
print(json.dumps({"compared": compared, "errors": errors}))
