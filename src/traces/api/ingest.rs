use super::Api;
use crate::ingest::Encoding;
use crate::traces::otlp::Kind;
use crate::traces::spec::accept;
use crate::web::{OtlpFormat, OtlpRequest, Rejected};
use axum::extract::{Request, State};
use axum::response::Response;

/// `Export` of OTLP, over HTTP or gRPC.
pub async fn export(State(api): State<Api>, request: Request) -> Response {
    let request = match OtlpRequest::read(request, api.door.limits().wire_max_bytes).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let respond = request.responder();
    let accepted = async {
        let tenant = api.tenancy.tenant(&request.headers)?;
        let encoding = Encoding::parse(request.encoding.as_deref())?;
        let kind = match request.format {
            OtlpFormat::Protobuf => Kind::OtlpProtobuf,
            OtlpFormat::Json => Kind::OtlpJson,
        };
        let window = api.door.store().spec().window();
        let translate = move |body: &bytes::Bytes, received_at| accept(window, kind, body, received_at);
        api.door.accept(tenant, kind as u8, encoding, request.body, translate).await
    };
    respond(accepted.await.map(|outcome| {
        let rejected = || Rejected { field: "rejectedSpans", count: outcome.refusals.len() as u64, message: outcome.refusals.message() };
        (!outcome.refusals.is_empty()).then(rejected)
    }))
}
