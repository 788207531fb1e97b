use crate::model::Failure;
use crate::query::QueryError;
use crate::web::{http_status, text_response};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// A failed request: plain text, no envelope (contracts/tempo.md 1.1).
#[derive(Debug, PartialEq)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
}

impl ApiError {
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError { status: StatusCode::BAD_REQUEST, message: message.into() }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> ApiError {
        // Not in the registry of names: the client has gone away.
        let canceled = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        let (status, message) = match &error {
            // What evaluation cannot do with the data, such as a division by zero, is the query's fault.
            QueryError::Parse(_) | QueryError::Invalid(_) | QueryError::Execution(_) => (StatusCode::BAD_REQUEST, error.to_string()),
            QueryError::Storage(_) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            QueryError::TooMuch(_) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
            QueryError::Timeout => (StatusCode::GATEWAY_TIMEOUT, "context deadline exceeded".to_owned()),
            QueryError::Canceled => (canceled, "context canceled".to_owned()),
            QueryError::QueueFull => (StatusCode::TOO_MANY_REQUESTS, error.to_string()),
            QueryError::NotReady => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        };
        ApiError { status, message }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> ApiError {
        ApiError { status: http_status(failure.kind), message: failure.message }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        text_response(self.status, self.message)
    }
}
