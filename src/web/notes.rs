//! What an answer has to say beside its data, from wherever it is found out: while a request is answered, notes are collected
//! and then written in the API's own form.

use super::stream::LateNotes;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use http::header;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::future::Future;

/// Different notes of one answer.
const NOTES_MAX: usize = 10;

tokio::task_local! {
    static NOTES: RefCell<Vec<String>>;
}

/// Runs `work` and gives what was noted meanwhile in the same task.
pub async fn noting<T>(work: impl Future<Output = T>) -> (T, Vec<String>) {
    let whole = async {
        let done = work.await;
        (done, NOTES.with(RefCell::take))
    };
    NOTES.scope(RefCell::default(), whole).await
}

/// Notes once what the user should know; outside of [`noting`] nobody listens.
pub fn note(text: String) {
    let _ = NOTES.try_with(|notes| {
        let mut notes = notes.borrow_mut();
        if notes.len() < NOTES_MAX && !notes.contains(&text) {
            notes.push(text);
        }
    });
}

/// The answer with `notes` among its `warnings`, as Prometheus and Loki have them: an array beside `status`. An answer that
/// is no success stays as it is, and one that is written as the client takes it tells them itself.
pub async fn with_warnings(response: Response, notes: Vec<String>) -> Response {
    if let Some(late) = response.extensions().get::<LateNotes>() {
        late.add(notes);
        return response;
    }
    change(response, &notes, |mut object| {
        let warnings = object.entry("warnings").or_insert_with(|| Value::Array(Vec::new()));
        warnings.as_array_mut()?.extend(notes.iter().cloned().map(Value::String));
        // Beside the status, where both have it: the data may be long.
        let mut ordered = Map::new();
        for key in ["status", "warnings"] {
            ordered.extend(object.shift_remove(key).map(|value| (key.to_owned(), value)));
        }
        ordered.extend(object);
        Some(ordered)
    })
    .await
}

/// The answer with `status` PARTIAL and `notes` as its `message`, as Tempo's answers with a status have them, in JSON or
/// protobuf (`status` is field 3, `message` field 4; contracts/tempo.md).
pub async fn as_partial(response: Response, notes: Vec<String>) -> Response {
    let text = notes.join("; ");
    let is_protobuf = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"protobuf"));
    if !is_protobuf {
        return change(response, &notes, |mut object| {
            object.insert("status".into(), "PARTIAL".into());
            object.insert("message".into(), text.clone().into());
            Some(object)
        })
        .await;
    }
    if notes.is_empty() || !response.status().is_success() {
        return response;
    }
    rewritten(response, |bytes| {
        // A message may end with further fields; its last value of each counts.
        let text: String = text.chars().take(100).collect();
        let mut tail = vec![0x18, 1, 0x22];
        let mut length = text.len();
        while length >= 0x80 {
            tail.push((length as u8) | 0x80);
            length >>= 7;
        }
        tail.push(length as u8);
        [bytes, &tail, text.as_bytes()].concat().into()
    })
    .await
}

async fn change(response: Response, notes: &[String], edit: impl FnOnce(Map<String, Value>) -> Option<Map<String, Value>>) -> Response {
    if notes.is_empty() || !response.status().is_success() {
        return response;
    }
    rewritten(response, |bytes| {
        let edited = serde_json::from_slice::<Map<String, Value>>(bytes).ok().and_then(edit);
        edited.and_then(|object| serde_json::to_vec(&object).ok()).map_or_else(|| Bytes::copy_from_slice(bytes), Bytes::from)
    })
    .await
}

/// Answers are in memory as a whole by now.
async fn rewritten(response: Response, edit: impl FnOnce(&[u8]) -> Bytes) -> Response {
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else { return Response::from_parts(head, Body::empty()) };
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(edit(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    async fn text(response: Response) -> String {
        String::from_utf8_lossy(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).into_owned()
    }

    #[tokio::test]
    async fn notes_join_the_warnings_that_are_there() {
        let work = async {
            note("a".into());
            note("a".into());
            r#"{"status":"success","data":[1]}"#.into_response()
        };
        let (response, notes) = noting(work).await;
        assert_eq!(text(with_warnings(response, notes).await).await, r#"{"status":"success","warnings":["a"],"data":[1]}"#);
        let before = r#"{"status":"success","data":[],"warnings":["b"]}"#.into_response();
        assert_eq!(text(with_warnings(before, vec!["a".into()]).await).await, r#"{"status":"success","warnings":["b","a"],"data":[]}"#);
        let untouched = "not JSON".into_response();
        assert_eq!(text(with_warnings(untouched, vec!["a".into()]).await).await, "not JSON");
        note("nobody listens".into());
    }

    #[tokio::test]
    async fn tempo_says_partial_in_both_forms() {
        let json = r#"{"trace":{}}"#.into_response();
        assert_eq!(text(as_partial(json, vec!["a".into()]).await).await, r#"{"trace":{},"status":"PARTIAL","message":"a"}"#);
        let protobuf = ([(header::CONTENT_TYPE, "application/protobuf")], vec![0x0a, 0]).into_response();
        let bytes = to_bytes(as_partial(protobuf, vec!["a".into()]).await.into_body(), 100).await.unwrap();
        assert_eq!(bytes[..], [0x0a, 0, 0x18, 1, 0x22, 1, b'a']);
    }
}
