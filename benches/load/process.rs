//! The server that is measured: started here, or running already.

use crate::cpu::{TICK, cpu_time};
use crate::disk::size;
use crate::memory::resident;
use crate::{Result, Transport};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that is not ready or idle after this long is given up.
const PATIENCE: Duration = Duration::from_secs(180);

/// Idle is less than two ticks of CPU time in this long.
const QUIET: Duration = Duration::from_secs(2);

/// An OTLP endpoint, the processes behind it and their directory.
pub struct Target {
    /// The base URL that requests are sent to.
    pub url: String,
    pids: Vec<u32>,
    data: Option<PathBuf>,
    own: Option<Own>,
}

/// A monocle of our own; it and its directory end with this.
struct Own {
    child: Child,
    addresses: serde_json::Value,
    _home: tempfile::TempDir,
}

/// What a target has used since it started. Bytes, and CPU time of all its threads.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub cpu: Duration,
    pub resident: u64,
    pub resident_peak: u64,
    pub disk: u64,
}

impl Target {
    pub fn running(url: &str, pids: &[u32], data: Option<PathBuf>) -> Target {
        Target { url: url.trim_end_matches('/').to_owned(), pids: pids.to_vec(), data, own: None }
    }

    /// A monocle on free ports and an empty directory, ready.
    pub fn start(transport: Transport, flags: &[String]) -> Result<Target> {
        Target::start_on(None, transport, flags)
    }

    /// As [`Target::start`], with only these cores, as `taskset -c` takes them.
    pub fn start_on(cores: Option<&str>, transport: Transport, flags: &[String]) -> Result<Target> {
        let home = tempfile::tempdir()?;
        let data = home.path().join("data");
        let mut command = Command::new(if cores.is_some() { "taskset" } else { env!("CARGO_BIN_EXE_monocle") });
        if let Some(cores) = cores {
            command.args(["-c", cores, env!("CARGO_BIN_EXE_monocle")]);
        }
        let child = command
            .args(["serve", "--listen", "127.0.0.1", "--log", "warn", "--data"])
            .arg(&data)
            .args(["--otlp-grpc", "--otlp-http", "--prometheus", "--loki", "--tempo", "--web"].iter().flat_map(|flag| [*flag, "0"]))
            .args(flags)
            .current_dir(home.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let pids = vec![child.id()];
        let mut own = Own { child, addresses: serde_json::Value::Null, _home: home };
        own.addresses = wait_ready(&data)?;
        let url = own.url(if transport == Transport::Http { "otlp_http" } else { "otlp_grpc" });
        Ok(Target { url, pids, data: Some(data), own: Some(own) })
    }

    /// Where our own is told to compact; `None` for a foreign one.
    pub fn compact_url(&self) -> Option<String> {
        self.own.as_ref().map(|own| format!("{}/-/compact", own.url("prometheus")))
    }

    /// The process and directory of our own; `None` for a foreign one.
    pub fn own(&self) -> Option<(u32, PathBuf)> {
        Some((self.own.as_ref()?.child.id(), self.data.clone()?))
    }

    /// The base URL of a listener of our own, by its key in `addresses.json`.
    pub fn listener(&self, name: &str) -> Option<String> {
        self.own.as_ref().map(|own| own.url(name))
    }

    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage { disk: self.data.as_deref().map_or(Ok(0), size)?, ..Usage::default() };
        for pid in &self.pids {
            usage.cpu += cpu_time(&pid.to_string())?;
            let resident = resident(&pid.to_string())?;
            usage.resident += resident.now;
            usage.resident_peak += resident.peak;
        }
        Ok(usage)
    }

    /// Waits until the server does nothing any more; at once when there is no process to look at.
    pub fn usage_when_idle(&self) -> Result<Usage> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = self.usage()?;
        while !self.pids.is_empty() && Instant::now() < deadline {
            std::thread::sleep(QUIET);
            let now = self.usage()?;
            if now.cpu - before.cpu < 2 * TICK {
                return Ok(now);
            }
            before = now;
        }
        Ok(before)
    }
}

impl Own {
    fn url(&self, listener: &str) -> String {
        format!("http://{}", self.addresses[listener].as_str().unwrap_or_default())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bound addresses, once the server answers that it is ready.
fn wait_ready(data: &Path) -> Result<serde_json::Value> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let ready = Command::new(env!("CARGO_BIN_EXE_monocle")).args(["health", "--data"]).arg(data).stderr(Stdio::null()).status()?;
        if ready.success() {
            return Ok(serde_json::from_slice(&std::fs::read(data.join("addresses.json"))?)?);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("monocle is not ready".into())
}
