//! `format_query` and `parse_query`.

use super::error::ApiError;
use crate::web::Params;
use axum::response::Response;

pub async fn format_query(_: Params) -> Response {
    ApiError::NotFound("format_query is not supported".to_owned()).into_response()
}

pub async fn parse_query(_: Params) -> Response {
    ApiError::NotFound("parse_query is not supported".to_owned()).into_response()
}
