use crate::model::{Failure, FailureKind};
use crate::runtime::{Budget, Reservation};
use axum::BoxError;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{StatusCode, header};
use http_body_util::{BodyExt, Limited};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A body waits so long for memory to be read into; meanwhile it is the sender's, or in the kernel's buffers.
const ROOM_WAIT: Duration = Duration::from_secs(2);

/// How often it asks.
const ROOM_EVERY: Duration = Duration::from_millis(20);

/// There is no memory to read a body into.
#[derive(Debug, thiserror::Error)]
#[error("memory for requests is used up")]
struct NoRoom;

/// Lets what was read of bodies and not handed on yet take at most what `room` has. Who reads a body with [`read_body`] learns
/// that there is none left as `Unavailable`.
pub async fn hold_bodies(State(room): State<Arc<Budget>>, request: Request, next: Next) -> Response {
    let request = if request.body().is_end_stream() { request } else { request.map(|body| held(body, room)) };
    next.run(request).await
}

fn held(body: Body, room: Arc<Budget>) -> Body {
    // Nothing always fits.
    let Some(held) = room.reserve(0) else { return body };
    let chunks = body.into_data_stream().map(|chunk| chunk.map_err(BoxError::from));
    Body::from_stream(futures_util::stream::try_unfold((chunks, held), |(mut chunks, mut held)| async move {
        let Some(chunk) = chunks.next().await.transpose()? else { return Ok::<_, BoxError>(None) };
        wait_for(&mut held, chunk.len() as u64).await?;
        Ok(Some((chunk, (chunks, held))))
    }))
}

async fn wait_for(held: &mut Reservation, bytes: u64) -> Result<(), NoRoom> {
    let deadline = Instant::now() + ROOM_WAIT;
    while held.grow(bytes).is_none() {
        if Instant::now() >= deadline {
            return Err(NoRoom);
        }
        sleep(ROOM_EVERY).await;
    }
    Ok(())
}

fn is_no_room(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source()).any(|error| error.is::<NoRoom>())
}

/// The whole body of a request, or `TooLarge` as soon as it exceeds `max` bytes.
pub async fn read_body(body: Body, max: usize) -> Result<Bytes, Failure> {
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<http_body_util::LengthLimitError>() => {
            Err(Failure::new(FailureKind::TooLarge, format!("request body is larger than {max} bytes")))
        }
        Err(e) if is_no_room(e.as_ref()) => Err(Failure::unavailable(NoRoom.to_string()).because("memory")),
        Err(e) => Err(Failure::invalid(format!("cannot read request body: {e}"))),
    }
}

/// A response with a JSON text that the caller has already written.
pub fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    respond(status, "application/json", body)
}

pub fn text_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = respond(status, "text/plain; charset=utf-8", body);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
