// A made-up request through three services, one of which fails: a trace, its logs, and a counter with an exemplar.

import { post } from "./api";

const hex = (bytes: number) => Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");

const text = (key: string, value: string) => ({ key, value: { stringValue: value } });

const resource = (service: string) => ({ attributes: [text("service.name", service), text("service.namespace", "sample"), text("service.version", "1.0.0")] });

const SCOPE = { name: "monocle.sample", version: "1.0.0" };

interface Step {
  service: string;
  name: string;
  kind: "SPAN_KIND_SERVER" | "SPAN_KIND_CLIENT";
  parent?: number;
  /** Milliseconds after the start of the request. */
  from: number;
  to: number;
  failed?: string;
  attributes: ReturnType<typeof text>[];
}

const STEPS: Step[] = [
  { service: "sample-frontend", name: "POST /checkout", kind: "SPAN_KIND_SERVER", from: 0, to: 412, failed: "checkout failed", attributes: [text("http.request.method", "POST"), text("http.route", "/checkout")] },
  { service: "sample-frontend", name: "POST", kind: "SPAN_KIND_CLIENT", parent: 0, from: 8, to: 402, failed: "503 from checkout", attributes: [text("http.request.method", "POST"), text("server.address", "sample-checkout")] },
  { service: "sample-checkout", name: "POST /orders", kind: "SPAN_KIND_SERVER", parent: 1, from: 14, to: 398, failed: "payment refused", attributes: [text("http.request.method", "POST"), text("http.route", "/orders")] },
  { service: "sample-checkout", name: "SELECT shop.cart", kind: "SPAN_KIND_CLIENT", parent: 2, from: 20, to: 57, attributes: [text("db.system.name", "postgresql"), text("db.namespace", "shop"), text("db.query.text", "SELECT * FROM cart WHERE id = $1")] },
  { service: "sample-checkout", name: "payment.Charge", kind: "SPAN_KIND_CLIENT", parent: 2, from: 64, to: 391, failed: "deadline exceeded", attributes: [text("rpc.system", "grpc"), text("rpc.service", "payment")] },
  { service: "sample-payment", name: "payment.Charge", kind: "SPAN_KIND_SERVER", parent: 4, from: 71, to: 389, failed: "card service timed out after 300 ms", attributes: [text("rpc.system", "grpc"), text("rpc.service", "payment")] },
];

const LINES: { step: number; at: number; severity: [number, string]; text: string }[] = [
  { step: 0, at: 1, severity: [9, "INFO"], text: "checkout started for cart 4711" },
  { step: 2, at: 60, severity: [9, "INFO"], text: "cart 4711 has 3 items, total 59.90 EUR" },
  { step: 5, at: 230, severity: [13, "WARN"], text: "card service is slow, attempt 2 of 2" },
  { step: 5, at: 385, severity: [17, "ERROR"], text: "card service timed out after 300 ms" },
  { step: 2, at: 395, severity: [17, "ERROR"], text: "order for cart 4711 failed: payment refused" },
];

/** Sends it at the present time; gives the trace's id. */
export async function sendSample(): Promise<string> {
  const trace = hex(16);
  const ids = STEPS.map(() => hex(8));
  const start = Date.now() - 450;
  const nanos = (millis: number) => `${start + millis}000000`;
  const services = Array.from(new Set(STEPS.map((step) => step.service)));
  const spans = STEPS.map((step, index) => ({
    service: step.service,
    span: {
      traceId: trace,
      spanId: ids[index],
      parentSpanId: step.parent === undefined ? "" : ids[step.parent],
      name: step.name,
      kind: step.kind,
      startTimeUnixNano: nanos(step.from),
      endTimeUnixNano: nanos(step.to),
      attributes: step.attributes,
      events: step.failed ? [{ timeUnixNano: nanos(step.to - 2), name: "exception", attributes: [text("exception.type", "Error"), text("exception.message", step.failed)] }] : [],
      status: step.failed ? { code: "STATUS_CODE_ERROR", message: step.failed } : {},
    },
  }));
  const records = LINES.map(({ step, at, severity: [severityNumber, severityText], text: line }) => ({
    service: STEPS[step].service,
    record: { timeUnixNano: nanos(at), severityNumber, severityText, body: { stringValue: line }, traceId: trace, spanId: ids[step] },
  }));
  const of = <T extends { service: string }>(all: T[], service: string) => all.filter((one) => one.service === service);
  await post("/v1/traces", {
    resourceSpans: services.map((service) => ({ resource: resource(service), scopeSpans: [{ scope: SCOPE, spans: of(spans, service).map(({ span }) => span) }] })),
  });
  await post("/v1/logs", {
    resourceLogs: services.map((service) => ({ resource: resource(service), scopeLogs: [{ scope: SCOPE, logRecords: of(records, service).map(({ record }) => record) }] })),
  });
  // A delta of one: it does not matter which browser pressed how often.
  const point = {
    startTimeUnixNano: nanos(0),
    timeUnixNano: nanos(450),
    asInt: "1",
    attributes: [text("outcome", "failed")],
    exemplars: [{ timeUnixNano: nanos(412), asInt: "1", traceId: trace, spanId: ids[0] }],
  };
  await post("/v1/metrics", {
    resourceMetrics: [
      {
        resource: resource("sample-frontend"),
        scopeMetrics: [{ scope: SCOPE, metrics: [{ name: "sample.checkout.requests", unit: "1", sum: { aggregationTemporality: 1, isMonotonic: true, dataPoints: [point] } }] }],
      },
    ],
  });
  return trace;
}
