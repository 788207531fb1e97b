use super::config::Config;
use super::exposition::accept;
use super::fetch::{Fetched, Fetcher};
use crate::runtime::Budget;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

/// Answers one connection after the other with what `answer` makes of the request, and tells the requests.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap().to_lowercase();
            let said = answer(&request);
            if told.send(request).is_err() {
                return;
            }
            let _ = stream.write_all(&said);
        }
    });
    (address, requests)
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/plain\r\n{headers}\r\n").as_bytes(), body].concat()
}

pub(super) async fn fetch(address: &str, more: serde_json::Value, memory: u64) -> Result<Fetched, String> {
    let mut table = json!({"job_name": "j", "targets": [address], "scrape_interval": "1s"});
    table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut mistakes = Vec::new();
    let config = Config::read(&[table], Duration::from_secs(60), false, None, &mut mistakes);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let target = &config.pools[0].active[0];
    let job = &target.job;
    let accepted = accept(&job.exposition.protocols, job.exposition.escaping);
    Fetcher::new(&job.client, &accepted, job.limits.body_bytes, Budget::new(memory)).unwrap().fetch(target).await
}

#[tokio::test]
async fn the_request_is_prometheus_and_the_answer_may_be_compressed() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(b"a 1\n").unwrap();
    let packed = packed.finish().unwrap();
    let (address, requests) = serve(move |_| ok("content-encoding: gzip\r\n", &packed));
    let more = json!({"params": {"a": ["b c"]}, "basic_auth": {"username": "u", "password": "p"}, "http_headers": {"X-Own": "yes"}});
    let fetched = fetch(&address, more, 1 << 24).await.unwrap();
    assert_eq!((&fetched.body[..], fetched.content_type.as_deref()), (&b"a 1\n"[..], Some("text/plain")));
    let request = requests.recv().unwrap();
    for line in [
        "get /metrics?a=b+c http/1.1\r\n",
        "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,",
        "accept-encoding: gzip\r\n",
        "authorization: basic dtpw\r\n",
        "user-agent: monocle/",
        "x-prometheus-scrape-timeout-seconds: 1\r\n",
        "x-own: yes\r\n",
    ] {
        assert!(request.contains(line), "{line} in {request}");
    }
}

#[tokio::test]
async fn a_token_is_read_anew_from_its_file() {
    let (address, requests) = serve(|_| ok("", b"a 1\n"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let more = json!({"authorization": {"credentials_file": file.to_str().unwrap()}});
    assert!(fetch(&address, more.clone(), 1 << 20).await.err().unwrap().contains("unable to read authorization credentials file"));
    std::fs::write(&file, "abc\n").unwrap();
    fetch(&address, more, 1 << 20).await.unwrap();
    assert!(requests.recv().unwrap().contains("authorization: bearer abc\r\n"));
}

#[tokio::test]
async fn redirects_are_followed_and_take_no_password_elsewhere() {
    let (elsewhere, asked) = serve(|_| ok("", b"moved 1\n"));
    let to = elsewhere.clone();
    let (address, _requests) = serve(move |request| {
        let location = if request.starts_with("get /metrics ") { "/here".to_owned() } else { format!("http://{to}/there") };
        format!("HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes()
    });
    let more = json!({"bearer_token": "x"});
    assert_eq!(&fetch(&address, more, 1 << 20).await.unwrap().body[..], b"moved 1\n");
    assert!(!asked.recv().unwrap().contains("authorization"));
    let error = fetch(&address, json!({"follow_redirects": false}), 1 << 20).await.err().unwrap();
    assert_eq!(error, "server returned HTTP status 302 Found");
    let (address, _requests) =
        serve(|_| b"HTTP/1.1 301 Gone\r\nconnection: close\r\nlocation: /metrics\r\ncontent-length: 0\r\n\r\n".to_vec());
    assert!(fetch(&address, json!({}), 1 << 20).await.err().unwrap().contains("stopped after 10 redirects"));
}

#[tokio::test]
async fn what_is_too_large_too_late_or_no_success_fails() {
    let (address, _requests) = serve(|_| ok("", &[b'#'; 5_000]));
    assert_eq!(fetch(&address, json!({"body_size_limit": "4KiB"}), 1 << 20).await.err().unwrap(), "body size limit exceeded");
    assert_eq!(fetch(&address, json!({}), 5_000).await.err().unwrap(), "memory for scrapes is used up");
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b'#'; 1 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let (address, _requests) = serve(move |_| ok("content-encoding: gzip\r\n", &bomb));
    assert_eq!(fetch(&address, json!({"body_size_limit": "512KiB"}), 1 << 24).await.err().unwrap(), "body size limit exceeded");
    let (address, _requests) = serve(|_| b"HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec());
    assert_eq!(fetch(&address, json!({}), 1 << 20).await.err().unwrap(), "server returned HTTP status 503 Service Unavailable");
    let (address, _requests) = serve(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec());
    assert!(fetch(&address, json!({}), 1 << 20).await.err().unwrap().contains("reading the answer"));
    let (address, _requests) = serve(|_| {
        std::thread::sleep(Duration::from_millis(500));
        Vec::new()
    });
    let error = fetch(&address, json!({"scrape_timeout": "100ms"}), 1 << 20).await.err().unwrap();
    assert!(error.ends_with("context deadline exceeded"), "{error}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert!(fetch(&closed, json!({}), 1 << 20).await.err().unwrap().contains("refused"));
}
