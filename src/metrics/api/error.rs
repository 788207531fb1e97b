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
    /// What is switched off, or cannot be done now.
    Unavailable(String),
    Internal(String),
    NotFound(String),
    /// Before start-up is complete.
    NotReady,
    Tenant(Failure),
    /// A body that is not taken.
    Refused(Failure),
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
            ApiError::NotReady | ApiError::Unavailable(_) => "unavailable",
            ApiError::Internal(_) => "internal",
            ApiError::Tenant(_) => "tenant",
            ApiError::Refused(_) => "bad_data",
        }
    }

    pub fn into_response(self) -> Response {
        let kind = self.outcome();
        match self {
            ApiError::NotReady | ApiError::Tenant(_) | ApiError::Refused(_) => self.into_text_response(),
            _ => {
                let (status, message) = self.told();
                json_response(status, serde_json::json!({ "status": "error", "errorType": kind, "error": message }).to_string())
            }
        }
    }

    /// For endpoints whose errors are plain text.
    pub fn into_text_response(self) -> Response {
        let (status, message) = self.told();
        text_response(status, message)
    }

    fn told(self) -> (StatusCode, String) {
        match self {
            ApiError::BadData(message) => (StatusCode::BAD_REQUEST, message),
            ApiError::Execution(message) => (StatusCode::UNPROCESSABLE_ENTITY, message),
            ApiError::Timeout(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
            ApiError::Canceled => {
                let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
                (status, "query was canceled in expression evaluation".to_owned())
            }
            ApiError::Unavailable(message) | ApiError::Internal(message) => (StatusCode::INTERNAL_SERVER_ERROR, message),
            ApiError::NotFound(message) => (StatusCode::NOT_FOUND, message),
            ApiError::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable".to_owned()),
            ApiError::Tenant(failure) | ApiError::Refused(failure) => (http_status(failure.kind), failure.message),
        }
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
