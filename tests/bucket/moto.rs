//! moto, a server of S3, for tests.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(60);

/// moto on a free port, with one bucket. Killed when dropped.
pub struct Moto {
    child: Child,
    pub address: String,
}

impl Moto {
    /// `None` if it is not installed.
    pub fn start() -> Option<Moto> {
        let moto = Moto::run(&python()?, "");
        let deadline = Instant::now() + WAIT;
        while !moto.ask("PUT", "/bucket").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            assert!(Instant::now() < deadline, "moto does not start");
            sleep(Duration::from_millis(100));
        }
        Some(moto)
    }

    /// Behind TLS, by a certificate that `home/ca.pem` vouches for.
    pub fn start_with_tls(home: &Path) -> Option<Moto> {
        let python = python()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bucket/authority.py");
        assert!(Command::new(&python).arg(script).arg(home).status().unwrap().success());
        let file = |name: &str| home.join(name).display().to_string();
        let moto = Moto::run(&python, &format!(", '-c', '{}', '-k', '{}'", file("server.pem"), file("server.key")));
        let make = "import boto3, sys; boto3.client('s3', region_name='us-east-1', endpoint_url=sys.argv[1], verify=sys.argv[2], \
            aws_access_key_id='a', aws_secret_access_key='b').create_bucket(Bucket='bucket')";
        let made = || {
            let url = format!("https://{}", moto.address);
            Command::new(&python).args(["-c", make, &url, &file("ca.pem")]).stderr(Stdio::null()).status().unwrap().success()
        };
        let deadline = Instant::now() + WAIT;
        while !made() {
            assert!(Instant::now() < deadline, "moto does not start");
            sleep(Duration::from_millis(100));
        }
        Some(moto)
    }

    fn run(python: &str, flags: &str) -> Moto {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let run = format!("from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'{flags}])");
        let child = Command::new(python).args(["-c", &run]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Moto { child, address: format!("127.0.0.1:{port}") }
    }

    fn ask(&self, method: &str, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let authorization = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {authorization}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Keys below `prefix`.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let answer = self.ask("GET", &format!("/bucket?list-type=2&prefix={prefix}")).unwrap();
        answer.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>")).map(|(key, _)| key.to_owned()).collect()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python that has moto.
fn python() -> Option<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let python = std::env::var("MONOCLE_PYTHON").unwrap_or_else(|_| format!("{home}/.cache/monocle-venv/bin/python"));
    let installed = Command::new(&python).args(["-c", "import moto.server, flask"]).stderr(Stdio::null()).status();
    if installed.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    let required = std::env::var("MONOCLE_CLIENTS").is_ok_and(|v| v == "required");
    assert!(!required, "moto is not installed for {python}");
    eprintln!("skipped: moto[s3,server] is not installed for {python}");
    None
}
