use super::Api;
use crate::ingest::{Encoding, Plain};
use crate::logs::spec::FrameKind;
use crate::web::{OtlpFormat, OtlpRequest, Rejected};
use axum::extract::{Request, State};
use axum::response::Response;

/// OTLP as its specification has it, over HTTP and gRPC.
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
            OtlpFormat::Protobuf => FrameKind::OtlpProtobuf,
            OtlpFormat::Json => FrameKind::OtlpJson,
        };
        let translator = api.door.store().spec().translator().clone();
        let translate = move |body: Plain<'_>, received_at: i64| translator.live(kind, body, received_at);
        api.door.accept(tenant, kind as u8, encoding, request.body, translate).await
    };
    respond(accepted.await.map(|outcome| {
        let count = outcome.refusals.len() as u64;
        (count > 0).then(|| Rejected { field: "rejectedLogRecords", count, message: outcome.refusals.summary() })
    }))
}
