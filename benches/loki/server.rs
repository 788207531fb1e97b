//! A monocle of our own, seen from outside.

#[path = "../measure/cpu.rs"]
mod cpu;
#[path = "../measure/memory.rs"]
mod memory;

use cpu::cpu_time;
use memory::{Resident, resident};
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const PATIENCE: Duration = Duration::from_secs(120);

pub struct Server {
    child: Child,
    /// `HOST:PORT`.
    pub loki: String,
    pub prometheus: String,
}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Server {
    /// Ready, on free ports; `MONOCLE_BENCH_BIN` measures another build, `MONOCLE_BENCH_FLAGS` adds flags.
    pub fn start(data: &Path) -> Result<Server> {
        let binary = std::env::var("MONOCLE_BENCH_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_monocle").into());
        let flags = std::env::var("MONOCLE_BENCH_FLAGS").unwrap_or_default();
        let addresses = data.join("addresses.json");
        let _ = std::fs::remove_file(&addresses);
        let child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1", "--log", "warn", "--web", "off", "--data"])
            .arg(data)
            .args(["--otlp-grpc", "--otlp-http", "--prometheus", "--loki", "--tempo"].iter().flat_map(|flag| [*flag, "0"]))
            .args(flags.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut server = Server { child, loki: String::new(), prometheus: String::new() };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            let Some(known) = std::fs::read(&addresses).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
            else {
                continue;
            };
            let address = |name: &str| known[name].as_str().unwrap_or_default().to_owned();
            (server.loki, server.prometheus) = (address("loki"), address("prometheus"));
            if ask(&server.loki, "GET", "/ready", b"").is_ok_and(|a| a.status == 200) {
                return Ok(server);
            }
        }
        Err("monocle is not ready".into())
    }

    /// User and system time of all threads.
    pub fn cpu(&self) -> Result<Duration> {
        Ok(cpu_time(&self.child.id().to_string())?)
    }

    /// Resident now and at most since [`Server::forget_peak`], MB.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let Resident { now, peak } = resident(&self.child.id().to_string())?;
        Ok((now / 1_000_000, peak / 1_000_000))
    }

    pub fn forget_peak(&self) -> Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn ask(address: &str, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or("no HTTP answer")?;
    let status = std::str::from_utf8(&answer[..end])?.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok(Answer { status, body: answer.split_off(end + 4) })
}
