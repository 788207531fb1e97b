use super::Api;
use crate::ingest::{Encoding, Plain};
use crate::metrics::spec::{FrameKind, translate};
use crate::model::Failure;
use crate::web::{OtlpFormat, OtlpRequest, Rejected};
use axum::extract::{Request, State};
use axum::response::Response;

/// Takes an export request over HTTP or gRPC; refused data points are told as partial success.
pub async fn export(State(api): State<Api>, request: Request) -> Response {
    let request = match OtlpRequest::read(request, api.door.limits().wire_max_bytes).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let respond = request.responder();
    respond(accept(&api, request).await)
}

async fn accept(api: &Api, request: OtlpRequest) -> Result<Option<Rejected>, Failure> {
    let tenant = api.tenancy.tenant(&request.headers)?;
    let encoding = Encoding::parse(request.encoding.as_deref())?;
    let kind = match request.format {
        OtlpFormat::Protobuf => FrameKind::OtlpProtobuf,
        OtlpFormat::Json => FrameKind::OtlpJson,
    };
    let spec = api.door.store().spec();
    let (config, known) = (spec.config().clone(), spec.known_series().clone());
    let translate = move |body: Plain<'_>, received_at: i64| translate(kind, body, received_at, &config, &known);
    let outcome = api.door.accept(tenant, kind as u8, encoding, request.body, translate).await?;
    let count = outcome.refusals.len() as u64;
    Ok((count > 0).then(|| Rejected { field: "rejectedDataPoints", count, message: outcome.refusals.summary() }))
}
