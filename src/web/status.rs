use crate::model::FailureKind;
use http::StatusCode;

/// The HTTP status of a failed request, for every API that does not define its own.
pub fn http_status(kind: FailureKind) -> StatusCode {
    match kind {
        FailureKind::Invalid => StatusCode::BAD_REQUEST,
        FailureKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        FailureKind::NotFound => StatusCode::NOT_FOUND,
        FailureKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FailureKind::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        FailureKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        FailureKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        FailureKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The gRPC status code: google.rpc.Code.
pub fn grpc_code(kind: FailureKind) -> i32 {
    match kind {
        FailureKind::Invalid => 3,
        FailureKind::Unauthenticated => 16,
        FailureKind::NotFound => 5,
        FailureKind::TooLarge | FailureKind::RateLimited => 8,
        FailureKind::UnsupportedMedia => 12,
        FailureKind::Unavailable => 14,
        FailureKind::Internal => 13,
    }
}
