//! Answers that are written as the client takes them: what is left of one is held as it was found, and not as text, and goes
//! as soon as the client does.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::iter;
use std::sync::Arc;

/// Text that is written at a time, about.
const CHUNK_BYTES: usize = 64 << 10;

/// What an answer is made of.
pub trait Pieces: Send + 'static {
    /// Appends the next piece, which is small beside 64 KiB, and says whether there is more. `notes` is what is to be told
    /// beside the data ([`note`](super::note)); it is all there when the end of a long answer is written.
    fn write(&mut self, out: &mut String, notes: &[String]) -> bool;
}

/// Notes on an answer that is not written yet.
#[derive(Clone, Default)]
pub(super) struct LateNotes(Arc<Mutex<Vec<String>>>);

impl LateNotes {
    pub fn add(&self, notes: Vec<String>) {
        self.0.lock().extend(notes);
    }
}

fn chunk(pieces: &mut impl Pieces, notes: &[String]) -> (String, bool) {
    let (mut out, mut more) = (String::new(), true);
    while more && out.len() < CHUNK_BYTES {
        more = pieces.write(&mut out, notes);
    }
    (out, more)
}

/// A successful answer. A short one is written at once.
pub fn streamed(content_type: HeaderValue, mut pieces: impl Pieces) -> Response {
    let (first, more) = chunk(&mut pieces, &[]);
    let mut response = if more {
        let notes = LateNotes::default();
        let (told, mut left) = (notes.clone(), Some(pieces));
        let rest = iter::from_fn(move || {
            let (text, more) = chunk(left.as_mut()?, &told.0.lock());
            if !more {
                left = None;
            }
            Some(text)
        });
        let chunks = iter::once(first).chain(rest).map(|text| Ok::<_, Infallible>(Bytes::from(text)));
        let mut response = Response::new(Body::from_stream(stream::iter(chunks)));
        response.extensions_mut().insert(notes);
        response
    } else {
        Response::new(Body::from(first))
    };
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::{note, noting, with_warnings};
    use axum::body::HttpBody as _;
    use http_body_util::BodyExt as _;
    use std::sync::Weak;

    struct Numbers {
        next: usize,
        end: usize,
        _held: Arc<()>,
    }

    impl Pieces for Numbers {
        fn write(&mut self, out: &mut String, notes: &[String]) -> bool {
            out.push_str(&format!("{:099}\n", self.next));
            self.next += 1;
            if self.next == self.end {
                out.push_str(&notes.join(","));
            }
            self.next < self.end
        }
    }

    fn numbers(end: usize) -> (Response, Weak<()>) {
        let held = Arc::new(());
        let weak = Arc::downgrade(&held);
        (streamed(HeaderValue::from_static("text/plain"), Numbers { next: 0, end, _held: held }), weak)
    }

    #[tokio::test]
    async fn a_short_answer_is_whole_and_a_long_one_comes_in_chunks() {
        let (short, held) = numbers(10);
        assert!(held.upgrade().is_none());
        assert_eq!(short.body().size_hint().exact(), Some(1_000));
        let (mut long, held) = numbers(10_000);
        let mut total = 0;
        while let Some(frame) = long.body_mut().frame().await {
            let bytes = frame.unwrap().into_data().unwrap();
            assert!(bytes.len() < CHUNK_BYTES + 100);
            total += bytes.len();
        }
        assert_eq!(total, 1_000_000);
        assert!(held.upgrade().is_none());
    }

    #[tokio::test]
    async fn what_is_noted_stands_at_the_end_and_who_leaves_frees_the_rest() {
        let work = async {
            note("late".into());
            numbers(10_000)
        };
        let ((long, held), notes) = noting(work).await;
        let mut long = with_warnings(long, notes).await;
        let _first = long.body_mut().frame().await;
        assert!(held.upgrade().is_some());
        let text = long.into_body().collect().await.unwrap().to_bytes();
        assert!(text.ends_with(b"9999\nlate"));
        let (mut long, held) = numbers(10_000);
        let _first = long.body_mut().frame().await;
        drop(long);
        assert!(held.upgrade().is_none());
    }
}
