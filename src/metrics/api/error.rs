use crate::model::Failure;
use crate::query::QueryError;
use crate::web::{http_status, json_response, text_response};
use axum::response::Response;
use http::StatusCode;

/// A request that is not answered, as the API of Prometheus puts it (contracts/prometheus.md 1.1, decisions 24).
#[derive(Debug)]
pub enum ApiError {
    /// The whole text.
    BadData(String),
    Execution(String),
    Timeout(String),
    Canceled,
    NotFound(String),
    /// Before start-up is complete.
    NotReady,
    Tenant(Failure),
}

impl ApiError {
    pub fn parameter(name: &str, cause: impl std::fmt::Display) -> ApiError {
        ApiError::BadData(format!("invalid parameter {name:?}: {cause}"))
    }

    /// A word for counters.
    pub fn outcome(&self) -> &'static str {
        match self {
            ApiError::BadData(_) => "bad_data",
            ApiError::Execution(_) => "execution",
            ApiError::Timeout(_) => "timeout",
            ApiError::Canceled => "canceled",
            ApiError::NotFound(_) => "not_found",
            ApiError::NotReady => "unavailable",
            ApiError::Tenant(_) => "tenant",
        }
    }

    pub fn into_response(self) -> Response {
        let kind = self.outcome();
        let (status, message) = match self {
            ApiError::BadData(message) => (StatusCode::BAD_REQUEST, message),
            ApiError::Execution(message) => (StatusCode::UNPROCESSABLE_ENTITY, message),
            ApiError::Timeout(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
            ApiError::Canceled => {
                let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
                (status, "query was canceled in expression evaluation".to_owned())
            }
            ApiError::NotFound(message) => (StatusCode::NOT_FOUND, message),
            ApiError::NotReady => return text_response(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
            ApiError::Tenant(failure) => return text_response(http_status(failure.kind), failure.message),
        };
        let body = serde_json::json!({ "status": "error", "errorType": kind, "error": message });
        json_response(status, body.to_string())
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> ApiError {
        match error {
            QueryError::Parse(message) | QueryError::Invalid(message) => ApiError::BadData(message),
            QueryError::Execution(message) | QueryError::TooMuch(message) | QueryError::Storage(message) => ApiError::Execution(message),
            QueryError::Timeout => ApiError::Timeout("query timed out in expression evaluation".to_owned()),
            QueryError::QueueFull => ApiError::Timeout("too many queries are waiting".to_owned()),
            QueryError::Canceled => ApiError::Canceled,
            QueryError::NotReady => ApiError::NotReady,
        }
    }
}
