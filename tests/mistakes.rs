//! The mistakes that newcomers make most: each gets one message that says what is wrong, why, and what to do, and an exit code
//! where it ends the process (2 for the configuration, 1 for the rest).

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};
use support::Server;

const PATIENCE: Duration = Duration::from_secs(60);

/// Every listener on a free port.
const FREE: [&str; 12] = ["--otlp-grpc", "0", "--otlp-http", "0", "--prometheus", "0", "--loki", "0", "--tempo", "0", "--web", "off"];

struct Ended {
    code: Option<i32>,
    out: String,
    said: String,
}

/// Runs the binary, which is to end by itself, in `home`.
fn run(home: &Path, args: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monocle"));
    command.args(args).current_dir(home).env_clear().envs(variables.iter().copied());
    ended(command)
}

fn ended(mut command: Command) -> Ended {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), out: text(&output.stdout), said: text(&output.stderr) }
}

/// The last line is the message, in front of which the program's name stands; it holds all `words`.
#[track_caller]
fn says(ended: &Ended, code: i32, words: &[&str]) {
    let said = format!("\n{}", ended.said);
    let message = said.split("\nmonocle: ").last().unwrap_or_default();
    assert_eq!(ended.code, Some(code), "{}", ended.said);
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    assert!(message.len() < 900, "too long: {message}");
}

fn serve(home: &Path, args: &[&str]) -> Ended {
    run(home, &[&["serve"], &FREE[..], args].concat(), &[])
}

#[test]
fn ports_that_are_taken_are_all_named() {
    let home = tempfile::tempdir().unwrap();
    let taken: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<String> = taken.iter().map(|l| l.local_addr().unwrap().port().to_string()).collect();
    let args =
        ["serve", "--otlp-grpc", "0", "--otlp-http", &ports[0], "--prometheus", "0", "--loki", &ports[1], "--tempo", "0", "--web", "off"];
    let ended = run(home.path(), &args, &[]);
    let at = |port: &str| format!("127.0.0.1:{port}");
    says(&ended, 1, &[&at(&ports[0]), "--otlp-http", &at(&ports[1]), "--loki ", "another process has them", "ss -ltnp"]);
    // The page does without its port.
    let server = Server::start(home.path(), &["--web", &ports[0]]);
    assert!(server.log().contains("the page is on the other ports"));
    let args = ["serve", "--listen", "192.0.2.1"];
    says(
        &run(home.path(), &args, &[]),
        1,
        &["192.0.2.1:4317", "--web", "no address of this machine", "--listen 127.0.0.1", "--listen 0.0.0.0"],
    );
    says(&serve(home.path(), &["--zipkin", "9411", "--jaeger-http", "9411"]), 2, &["--jaeger-http", "what --zipkin has"]);
}

#[test]
fn a_data_directory_that_is_none() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "x").unwrap();
    says(&serve(home.path(), &["--data", "file"]), 1, &["data directory file", "is a file", "--data DIR"]);
    says(&serve(home.path(), &["--data", "file/below"]), 1, &["data directory file/below", "is a file"]);
    if !Path::new("/usr/bin/setpriv").exists() {
        eprintln!("skipped: there is no setpriv, which makes a process of another user");
        return;
    }
    fs::create_dir(home.path().join("closed")).unwrap();
    // What another user starts has to be where he may go.
    let binary = Path::new("/tmp").join(format!("monocle-{}", std::process::id()));
    fs::copy(env!("CARGO_BIN_EXE_monocle"), &binary).unwrap();
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid=4242", "--regid=4242", "--clear-groups"]).arg(&binary).arg("serve").args(FREE);
    command.arg("--data").arg("/usr/monocle").current_dir("/");
    let ended = ended(command);
    fs::remove_file(&binary).unwrap();
    if ended.said.contains("setpriv: ") {
        eprintln!("skipped: no other user can be taken here");
        return;
    }
    says(&ended, 1, &["/usr/monocle", "Permission denied", "user 4242 has to be able to write there", "--data DIR"]);
}

#[test]
fn a_data_directory_has_one_process() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    let number = fs::read_to_string(home.path().join("data/lock")).unwrap();
    says(&serve(home.path(), &["--data", "data"]), 1, &["in use by another monocle", &format!("process {number}"), "--data DIR"]);
    assert!(server.stop().success());
}

#[test]
fn a_catalog_that_is_damaged_or_from_the_future_is_told() {
    let home = tempfile::tempdir().unwrap();
    assert!(Server::start(home.path(), &[]).stop().success());
    let catalog = home.path().join("data/catalog.db");
    let good = fs::read(&catalog).unwrap();
    // Where SQLite keeps `user_version`, the number of migrations. Source: "Database File Format", 1.3.14.
    let newer = [&good[..60], &[0, 0, 0, 99], &good[64..]].concat();
    for (bytes, words) in [(&newer[..], ["of a newer monocle", "backup"]), (b"not a database", ["damaged", "catalog rebuild"])] {
        fs::write(&catalog, bytes).unwrap();
        says(&serve(home.path(), &["--data", "data"]), 1, &words);
    }
    fs::write(&catalog, &good).unwrap();
    assert!(Server::start(home.path(), &[]).stop().success());
}

/// A bucket that answers everything the same way.
fn bucket(status: &'static str, code: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 65_536]);
            let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
            let length = body.len();
            let _ =
                stream.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn a_bucket_that_refuses_is_told_with_what_to_look_at() {
    let cases = [
        ("404 Not Found", "NoSuchBucket", "create it, or mend the name in --s3"),
        ("403 Forbidden", "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ("403 Forbidden", "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ("403 Forbidden", "RequestTimeTooSkewed", "The clocks differ"),
        ("403 Forbidden", "AccessDenied", "list, read, write and delete"),
        ("400 Bad Request", "AuthorizationHeaderMalformed", "--s3-region"),
        ("301 Moved Permanently", "PermanentRedirect", "--s3-region"),
    ];
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    for (status, code, advice) in cases {
        let home = tempfile::tempdir().unwrap();
        let endpoint = bucket(status, code);
        let args = [&["serve"], &FREE[..], &["--s3", "s3://data/x", "--s3-endpoint", &endpoint]].concat();
        says(&run(home.path(), &args, &keys), 1, &["--s3: ", advice]);
    }
    let home = tempfile::tempdir().unwrap();
    let args = [&["serve"], &FREE[..], &["--s3", "s3://data/x", "--s3-endpoint", "http://127.0.0.1:1"]].concat();
    says(&run(home.path(), &args, &keys), 1, &["--s3: ", "--s3-endpoint", "whether that server runs"]);
    // Without keys it asks the machine for those of its role, which is without TLS whatever the bucket has.
    let metadata = bucket("404 Not Found", "none");
    let args = [&["serve"], &FREE[..], &["--s3", "s3://data/x", "--s3-endpoint", "https://127.0.0.1:1"]].concat();
    let ended = run(home.path(), &args, &[("AWS_METADATA_ENDPOINT", &metadata)]);
    says(&ended, 1, &["--s3: ", "404", "There are no keys", "AWS_ACCESS_KEY_ID"]);
    says(&serve(home.path(), &["--s3", "data/x"]), 2, &["--s3: expected s3://BUCKET", "data/x"]);
}

#[test]
fn the_file_is_told_by_line_and_by_what_was_meant() {
    let home = tempfile::tempdir().unwrap();
    let with = |text: &str| {
        fs::write(home.path().join("monocle.toml"), text).unwrap();
        run(home.path(), &["check-config"], &[])
    };
    says(&with("disk = \"1GiB\"\nretention_logs = \"7d\"\n"), 2, &["./monocle.toml", "line 2", "did you mean retention-logs?"]);
    says(&with("disk = \"1GiB\"\nloki = \"\n"), 2, &["./monocle.toml", "line 2"]);
    says(
        &with("retention = \"30days\"\nmemory = \"512M\""),
        2,
        &["--retention: expected a duration such as 30d", "\"30days\"", "--memory", "512MiB"],
    );
    says(&with("memory = \"1MiB\""), 2, &["--memory: at least 64MiB"]);
    let missing = run(home.path(), &["check-config", "--config", "gone.toml"], &[]);
    says(&missing, 2, &["gone.toml does not exist"]);
    let slip = run(home.path(), &["serve", "--retenton", "7d"], &[]);
    assert!(slip.code == Some(2) && slip.said.contains("'--retention'"), "{}", slip.said);
}

#[test]
fn check_config_shows_values_with_their_origin_and_warns() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("monocle.toml"), "retention = \"7d\"\nloki = 3101\n").unwrap();
    let args = ["check-config", "--disk", "900TiB", "--memory", "64TiB"];
    let variables = [
        ("MONOCLE_LOKI", "3102"),
        ("MONOCLE_TEMPO", "3201"),
        ("MONOCLE_RETENTON_LOGS", "1d"),
        ("MONOCLE_PORT_4317_TCP_ADDR", "10.0.0.1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@vendor:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ];
    let shown = run(home.path(), &args, &variables);
    assert_eq!(shown.code, Some(0), "{}", shown.said);
    let row = |knob: &str| {
        let row = shown.out.lines().find(|line| line.split_whitespace().next() == Some(knob));
        row.unwrap_or_else(|| panic!("no {knob} in {}", shown.out)).split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("disk"), "disk 900TiB --disk");
    assert_eq!(row("loki"), "loki 3102 MONOCLE_LOKI");
    assert_eq!(row("tempo"), "tempo 3201 MONOCLE_TEMPO");
    assert_eq!(row("retention-traces"), "retention-traces 7d configuration file");
    assert_eq!(row("otlp-http"), "otlp-http 4318 default");
    assert_eq!(row("s3"), "s3 none default");
    let warnings: Vec<&str> = shown.out.lines().filter(|line| line.starts_with("warning: ")).collect();
    let warned = |words: &[&str]| warnings.iter().any(|w| words.iter().all(|word| w.contains(word)));
    assert!(warned(&["--disk 900TiB", "has room for"]), "{warnings:?}");
    assert!(warned(&["--memory 64TiB", "at most --memory"]), "{warnings:?}");
    assert!(warned(&["MONOCLE_RETENTON_LOGS", "did you mean MONOCLE_RETENTION_LOGS?"]), "{warnings:?}");
    assert!(warned(&["OTLP/HTTP is sent to port 4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"]), "{warnings:?}");
    assert!(!warned(&["TCP_ADDR"]) && !shown.out.contains("secret"), "{}", shown.out);
    // The same at a start.
    let server = Server::start(home.path(), &["--disk", "900TiB"]);
    assert!(server.log().contains("--disk 900TiB"), "{}", server.log());
}

/// A library that moves the clock of a process by `SKEW` seconds.
const SKEWED: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *out) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, out);
    const char *skew = getenv("SKEW");
    if (id == CLOCK_REALTIME && skew) out->tv_sec += atoll(skew);
    return result;
}
"#;

#[test]
fn a_clock_that_is_wrong_is_told() {
    let home = tempfile::tempdir().unwrap();
    let (source, library) = (home.path().join("skew.c"), home.path().join("skew.so"));
    fs::write(&source, SKEWED).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no C compiler here that makes a library");
        return;
    }
    let library = library.to_str().unwrap();
    let log = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"from tomorrow"}}]}]}]}"#;
    let tomorrow = Server::start_with(home.path(), &[], &[("LD_PRELOAD", library), ("SKEW", "86400")]);
    assert_eq!(tomorrow.post("otlp_http", "/v1/logs", "application/json", log).status, 200);
    assert!(!tomorrow.log().contains("the clock"), "{}", tomorrow.log());
    tomorrow.kill9();
    let today = Server::start(home.path(), &[]);
    assert!(today.log().contains("the clock of this machine is behind what is stored already"), "{}", today.log());
    drop(today);
    let home = tempfile::tempdir().unwrap();
    let long_ago = Server::start_with(home.path(), &[], &[("LD_PRELOAD", library), ("SKEW", "-1700000000")]);
    assert!(long_ago.log().contains("the clock of this machine says 19"), "{}", long_ago.log());
}

#[test]
fn senders_that_mix_up_ports_are_served_or_told() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    // OTLP/HTTP to the port of gRPC and to those of the query APIs is as good.
    for listener in ["otlp_grpc", "otlp_http", "prometheus", "loki", "tempo"] {
        assert_eq!(server.post(listener, "/v1/logs", "application/json", b"{}").status, 200, "{listener}");
    }
    for listener in ["otlp_grpc", "otlp_http", "loki"] {
        assert_eq!(grpc_export(server.address(listener)), Some("0".to_owned()), "gRPC to {listener}");
    }
    // A path given twice, remote write and Loki's push to a port of OTLP.
    for path in ["/v1/traces/v1/traces", "/api/v1/write", "/loki/api/v1/push", "/"] {
        let answer = server.post("otlp_http", path, "application/x-protobuf", b"");
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 404, "{path}");
        assert!(text.contains(path) && text.contains("/v1/traces") && text.contains("9090"), "{text}");
    }
    // JSON that is not called so, as curl sends it.
    let answer = server.post("loki", "/loki/api/v1/push", "application/x-www-form-urlencoded", br#"{"streams":[]}"#);
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("Content-Type: application/json"));
    // https:// to a plain port.
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address("otlp_grpc")).unwrap();
        stream.write_all(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3]).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let log = server.log();
    assert_eq!(log.matches("a client speaks TLS here").count(), 1, "{log}");
    assert!(log.contains("http:// instead of https://"), "{log}");
    // One that says nothing does not keep it from stopping.
    let _silent = TcpStream::connect(server.address("otlp_http")).unwrap();
    let stopping = Instant::now();
    assert!(server.stop().success());
    assert!(stopping.elapsed() < Duration::from_secs(8), "{:?}", stopping.elapsed());
}

#[test]
fn behind_a_proxy_nobody_has_to_be_an_operator() {
    let home = tempfile::tempdir().unwrap();
    let id = "0af7651916cd43dd8448eb211c80319c";
    let delete = |server: &Server| server.try_ask("DELETE", "tempo", &format!("/api/traces/{id}"), None).unwrap().status;
    let server = Server::start(home.path(), &[]);
    assert_eq!((server.post("prometheus", "/-/flush", "text/plain", b"").status, delete(&server)), (204, 204));
    assert!(server.stop().success());
    let server = Server::start(home.path(), &["--admin", "false"]);
    assert_eq!((server.post("prometheus", "/-/flush", "text/plain", b"").status, delete(&server)), (403, 405));
}

/// An empty export, with prior knowledge of HTTP/2; the status that comes behind the answer.
fn grpc_export(address: &str) -> Option<String> {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let uri = format!("http://{address}/opentelemetry.proto.collector.logs.v1.LogsService/Export");
        let body = Full::new(bytes::Bytes::from_static(&[0; 5]));
        let request = http::Request::post(uri).header("content-type", "application/grpc").header("te", "trailers").body(body).unwrap();
        let answer = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
        answer.trailers()?.get("grpc-status")?.to_str().ok().map(str::to_owned)
    })
}
