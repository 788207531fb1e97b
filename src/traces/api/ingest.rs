use super::Api;
use crate::ingest::{Encoding, Outcome, Plain};
use crate::model::{Failure, TenantId};
use crate::traces::otlp::Kind;
use crate::web::{OtlpFormat, OtlpRequest, Rejected};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;

impl Api {
    /// Stores the spans of a body.
    pub(super) async fn accept(&self, tenant: TenantId, kind: Kind, encoding: Encoding, body: Bytes) -> Result<Outcome, Failure> {
        let (store, own) = (self.door.store().clone(), tenant.clone());
        let translate = move |body: Plain<'_>, received_at| store.spec().accept(&own, kind, body, received_at);
        self.door.accept(tenant, kind as u8, encoding, body, translate).await
    }
}

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
        api.accept(tenant, kind, encoding, request.body).await
    };
    respond(accepted.await.map(|outcome| {
        let rejected = || Rejected { field: "rejectedSpans", count: outcome.refusals.len() as u64, message: outcome.refusals.summary() };
        (!outcome.refusals.is_empty()).then(rejected)
    }))
}
