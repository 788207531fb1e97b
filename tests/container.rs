//! The image, as far as it can be tried without a container engine: the binary in a root file system that cannot be written but
//! for the volume, with the environment, user, command and health check of `docker/Dockerfile`, in a network of its own.
//! Skipped by name where this user may not mount or take other users.
//!
//! Also what checks the Dockerfile and the compose file themselves: `hadolint`, and the schema of compose files; both are in
//! `tests/clients/requirements.txt`, and looked for beside `MONOCLE_PYTHON`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The instructions of the last stage, each with its arguments.
struct Dockerfile(Vec<(String, String)>);

impl Dockerfile {
    fn read() -> Dockerfile {
        let text = fs::read_to_string(top().join("docker/Dockerfile")).unwrap();
        let text = text.replace("\\\n", " ");
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let words = lines.filter_map(|line| line.split_once(' ')).map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()));
        let all: Vec<_> = words.collect();
        let last = all.iter().rposition(|(word, _)| word == "FROM").unwrap();
        Dockerfile(all[last..].to_vec())
    }

    fn arguments(&self, word: &str) -> &str {
        let found: Vec<_> = self.0.iter().filter(|(is, _)| is == word).collect();
        assert_eq!(found.len(), 1, "one {word}");
        &found[0].1
    }

    /// A command in the form of a JSON list.
    fn command(&self, word: &str) -> Vec<String> {
        let text = self.arguments(word);
        serde_json::from_str(&text[text.find('[').unwrap()..]).unwrap()
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let pairs = self.arguments("ENV").split_whitespace().map(|pair| pair.split_once('=').unwrap());
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// A running image, with a network of its own.
struct Container {
    process: Child,
    home: PathBuf,
}

/// Mounts the root file system of the image at `$1`, read-only, with `$2` as its volume, and becomes the process in it.
const RUN: &str = r#"
set -e
root=$1 volume=$2 user=$3 binary=$4
shift 4
ip link set lo up
for part in /lib /lib64 /usr /proc; do
  [ -d "$part" ] || continue
  mkdir -p "$root$part"
  mount --rbind "$part" "$root$part"
done
mkdir -p "$root/data"
touch "$root/monocle"
mount --bind "$binary" "$root/monocle"
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --bind "$volume" "$root/data"
mount --bind "$binary" "$root/monocle"
for part in /lib /lib64 /usr /proc; do [ ! -d "$part" ] || mount --rbind "$part" "$root$part"; done
exec chroot --userspec="$user" "$root" "$@"
"#;

impl Container {
    /// `None` where that may not be tried here.
    fn start(home: &Path, user: &str, owner: &str) -> Option<Container> {
        let file = Dockerfile::read();
        let (root, volume) = (home.join("root"), home.join("volume"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&volume).unwrap();
        for directory in [home, &root] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
        // As the Dockerfile makes it.
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o775)).unwrap();
        let may = Command::new("unshare").args(["--mount", "--net", "ip", "link", "set", "lo", "up"]).stderr(Stdio::null()).status();
        let owned = Command::new("chown").arg(owner).arg(&volume).stderr(Stdio::null()).status();
        if !may.is_ok_and(|s| s.success()) || !owned.is_ok_and(|s| s.success()) {
            eprintln!("skipped: this user may not make name spaces here, or has no unshare and ip");
            return None;
        }
        let log = fs::File::create(home.join("log")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "sh", "-c", RUN, "sh"]).arg(&root).arg(&volume).arg(user).arg(env!("CARGO_BIN_EXE_monocle"));
        command.args(file.command("ENTRYPOINT")).args(file.command("CMD"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(file.environment());
        let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Some(Container { process, home: home.to_owned() })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap()
    }

    /// Runs a program in the container's network, and in its file system, too, as the image's user, if `user` is given.
    fn inside(&self, user: Option<&str>, program: &[String]) -> Output {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.process.id())).arg("--net");
        if let Some(user) = user {
            command.args(["--mount", "--", "chroot", &format!("--userspec={user}")]).arg(self.home.join("root"));
            command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(Dockerfile::read().environment());
        } else {
            command.arg("--");
        }
        command.args(program).stdin(Stdio::null()).output().unwrap()
    }

    fn get(&self, port: &str, path: &str) -> String {
        let script = r#"exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET %s HTTP/1.0\r\n\r\n' "$2" >&3 && cat <&3"#;
        let answer = self.inside(None, &["bash", "-c", script, "bash", port, path].map(str::to_owned));
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    fn wait_until_healthy(&mut self, user: &str) {
        let check = Dockerfile::read().command("HEALTHCHECK");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.inside(Some(user), &check);
            if answer.status.success() {
                return;
            }
            assert_eq!(self.process.try_wait().unwrap(), None, "it has ended: {}", self.log());
            assert!(Instant::now() < deadline, "not healthy: {} {}", String::from_utf8_lossy(&answer.stderr), self.log());
            sleep(Duration::from_millis(50));
        }
    }

    fn stop(&mut self) -> Option<i32> {
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.process.id())]).status().unwrap();
        assert!(sent.success());
        let stopping = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            // What the compose file grants.
            assert!(stopping.elapsed() < Duration::from_secs(30), "it does not stop: {}", self.log());
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn owner_of(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().uid()
}

fn try_as(user: &str, owner: &str) {
    let file = Dockerfile::read();
    let home = tempfile::tempdir().unwrap();
    let Some(mut container) = Container::start(home.path(), user, owner) else { return };
    container.wait_until_healthy(user);
    for port in file.arguments("EXPOSE").split_whitespace() {
        let path = if port == "13133" { "/" } else { "/ready" };
        let answer = container.get(port, path);
        assert!(answer.starts_with("HTTP/1.0 200"), "port {port}: {answer:?} {}", container.log());
    }
    let touched = container.inside(Some("0:0"), &["/usr/bin/touch", "/written"].map(str::to_owned));
    assert!(String::from_utf8_lossy(&touched.stderr).contains("Read-only"), "{touched:?}");
    let log = container.log();
    assert!(log.contains("The OpenTelemetry collector and the Grafana LGTM stack are up and running.\n"), "{log}");
    let (id, _) = user.split_once(':').unwrap();
    assert_eq!(owner_of(&home.path().join("volume/catalog.db")).to_string(), id);
    assert_eq!(container.stop(), Some(0), "{}", container.log());
    // And again, on what is there.
    let mut container = Container::start(home.path(), user, owner).unwrap();
    container.wait_until_healthy(user);
    assert_eq!(container.stop(), Some(0), "{}", container.log());
}

#[test]
fn the_image_runs_without_root_and_writes_its_volume_only() {
    let user = Dockerfile::read().arguments("USER").to_owned();
    let (id, _) = user.split_once(':').unwrap();
    assert!(id.parse::<u32>().unwrap() > 0);
    try_as(&user, &format!("{id}:0"));
}

#[test]
fn openshift_may_give_it_any_user_of_group_0() {
    try_as("1000730000:0", "65532:0");
}

#[test]
fn the_image_is_told_what_otel_lgtm_is() {
    let file = Dockerfile::read();
    let ports: Vec<&str> = file.arguments("EXPOSE").split_whitespace().collect();
    for port in ["3000", "3100", "3200", "4317", "4318", "9090", "13133"] {
        assert!(ports.contains(&port), "{port}");
    }
    assert_eq!(file.arguments("VOLUME"), "/data");
    assert_eq!(file.environment()["MONOCLE_DATA"], "/data");
    assert_eq!(file.arguments("STOPSIGNAL"), "SIGTERM");
    let compose: serde_json::Value = serde_yaml_ng::from_str(&fs::read_to_string(top().join("docker/compose.yaml")).unwrap()).unwrap();
    let services = &compose["services"];
    assert_eq!(services["monocle"]["read_only"], true);
    // Both have to say it, and the same.
    let check = &services["monocle"]["healthcheck"];
    let (mut command, options) = (vec!["CMD".to_owned()], file.arguments("HEALTHCHECK"));
    command.extend(file.command("HEALTHCHECK"));
    assert_eq!(check["test"], serde_json::json!(command));
    for (name, flag) in [("interval", "interval"), ("timeout", "timeout"), ("start_period", "start-period")] {
        let value = format!("--{flag}={}", check[name].as_str().unwrap());
        assert!(options.split_whitespace().any(|option| option == value), "{value} is not in {options}");
    }
    for port in services["monocle"]["ports"].as_array().unwrap() {
        let parts: Vec<&str> = port.as_str().unwrap().split(':').collect();
        assert_eq!((parts[0], parts[1]), ("127.0.0.1", parts[2]));
        assert!(ports.contains(&parts[2]), "{port}");
    }
    for volume in services["grafana"]["volumes"].as_array().unwrap() {
        let (from, _) = volume.as_str().unwrap().split_once(':').unwrap();
        assert!(!from.starts_with('.') || top().join("docker").join(from).is_dir(), "{from}");
    }
}

/// A program of the Python environment, or of the machine.
fn program(name: &str) -> Option<PathBuf> {
    let beside = std::env::var_os("MONOCLE_PYTHON").and_then(|python| Some(Path::new(&python).parent()?.join(name)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = beside.into_iter().chain(std::env::split_paths(&path).map(|dir| dir.join(name))).find(|path| path.exists());
    if found.is_none() {
        assert!(!std::env::var("MONOCLE_CLIENTS").is_ok_and(|v| v == "required"), "there is no {name}, and MONOCLE_CLIENTS=required");
        eprintln!("skipped: there is no {name}");
    }
    found
}

#[test]
fn hadolint_finds_nothing() {
    let Some(hadolint) = program("hadolint") else { return };
    let output = Command::new(hadolint).args(["--no-color", "docker/Dockerfile"]).current_dir(top()).output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_compose_file_is_one() {
    let Some(check) = program("check-jsonschema") else { return };
    let arguments = ["--builtin-schema", "vendor.compose-spec", "docker/compose.yaml"];
    let output = Command::new(check).args(arguments).current_dir(top()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
