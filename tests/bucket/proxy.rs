//! Stands between monocle and an S3 server and does what networks and busy servers do. One request a connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Every request takes a third of a second more.
    Slow,
    /// Every request is answered 503 SlowDown.
    Busy,
    SometimesBusy,
    /// Bodies of requests stop halfway.
    CutRequests,
    /// The server does what was asked, and its answer is lost.
    CutAnswers,
    /// Bodies of answers stop halfway, two times of three.
    SometimesCutAnswers,
    /// A byte of what is sent is changed.
    WrongRequests,
    /// A byte of what comes back is changed, every second time.
    SometimesWrongAnswers,
    /// Connections are closed at once.
    Refuse,
    /// The server's clock stands at the beginning of 2020.
    OldDates,
}

#[derive(Default)]
struct State {
    fault: Mutex<Option<Fault>>,
    /// Only the request before which this is 1 meets the fault.
    countdown: Mutex<Option<usize>>,
    hits: AtomicUsize,
    seen: AtomicUsize,
    seen_of_blocks: AtomicUsize,
    served: AtomicUsize,
}

pub struct Proxy {
    pub address: String,
    state: Arc<State>,
}

impl Proxy {
    pub fn start(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { address: listener.local_addr().unwrap().to_string(), state: Arc::default() };
        let (state, server) = (proxy.state.clone(), server.to_owned());
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, server) = (state.clone(), server.clone());
                // A connection that breaks is what this is for.
                thread::spawn(move || drop(serve(stream, &server, &state)));
            }
        });
        proxy
    }

    pub fn set(&self, fault: Fault) {
        self.state.hits.store(0, Ordering::SeqCst);
        *self.state.countdown.lock().unwrap() = None;
        *self.state.fault.lock().unwrap() = Some(fault);
    }

    /// Request `number` from now on, counted from 1, meets the fault, and no other.
    pub fn strike(&self, fault: Fault, number: usize) {
        self.set(fault);
        *self.state.countdown.lock().unwrap() = Some(number);
    }

    /// How often the fault that is set now has struck.
    pub fn hits(&self, fault: Fault) -> usize {
        assert_eq!(*self.state.fault.lock().unwrap(), Some(fault));
        self.state.hits.load(Ordering::SeqCst)
    }

    /// Requests that were answered in order so far.
    pub fn served(&self) -> usize {
        self.state.served.load(Ordering::SeqCst)
    }
}

impl State {
    fn is_turn(&self) -> bool {
        match &mut *self.countdown.lock().unwrap() {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                *left == 0
            }
        }
    }
}

fn read_message(stream: &mut TcpStream, has_length: bool) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
    loop {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        if let (Some(end), true) = (end, has_length) {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Ok((bytes[..end + 4].to_vec(), bytes[end + 4..].to_vec()));
            }
        }
        match stream.read(&mut buffer)? {
            0 if has_length => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => {
                let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
                return Ok((bytes[..end + 4].to_vec(), bytes[end + 4..].to_vec()));
            }
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn with_date(head: &[u8], date: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(head).into_owned();
    let is_date = |line: &str| line.to_ascii_lowercase().starts_with("date:");
    let lines: Vec<String> = text.split("\r\n").map(|line| if is_date(line) { format!("Date: {date}") } else { line.to_owned() }).collect();
    lines.join("\r\n").into_bytes()
}

fn change(body: &mut [u8]) {
    let middle = body.len() / 2;
    body[middle] ^= 0x55;
}

fn serve(mut client: TcpStream, server: &str, state: &State) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    let fault = || state.fault.lock().unwrap().unwrap_or(Fault::None);
    let hit = || state.hits.fetch_add(1, Ordering::SeqCst);
    if fault() == Fault::Refuse {
        hit();
        return client.shutdown(Shutdown::Both);
    }
    let (head, mut body) = read_message(&mut client, true)?;
    let now = if state.is_turn() { fault() } else { Fault::None };
    let is_block = String::from_utf8_lossy(&head).lines().next().is_some_and(|line| line.contains(".parquet"));
    // Counted apart, so that of a file's requests every second or third is hit, whatever goes on beside them.
    let number = if is_block { &state.seen_of_blocks } else { &state.seen }.fetch_add(1, Ordering::SeqCst);
    match now {
        Fault::Slow => {
            hit();
            thread::sleep(Duration::from_millis(300));
        }
        Fault::Busy | Fault::SometimesBusy if now == Fault::Busy || number % 3 != 0 => {
            hit();
            let error = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
            return write!(client, "HTTP/1.1 503 Slow Down\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{error}", error.len());
        }
        Fault::CutRequests if !body.is_empty() => {
            hit();
            return client.shutdown(Shutdown::Both);
        }
        Fault::WrongRequests if is_block && !body.is_empty() => {
            hit();
            change(&mut body);
        }
        _ => {}
    }
    let mut upstream = TcpStream::connect(server)?;
    let head = String::from_utf8_lossy(&head).trim_end().to_owned();
    write!(upstream, "{head}\r\nConnection: close\r\n\r\n")?;
    upstream.write_all(&body)?;
    let (mut head, mut body) = read_message(&mut upstream, false)?;
    match now {
        Fault::OldDates => {
            hit();
            head = with_date(&head, "Wed, 01 Jan 2020 00:00:00 GMT");
        }
        Fault::CutAnswers => {
            hit();
            return client.shutdown(Shutdown::Both);
        }
        Fault::SometimesCutAnswers if is_block && number % 3 != 0 && body.len() > 1 => {
            hit();
            client.write_all(&head)?;
            client.write_all(&body[..body.len() / 2])?;
            return client.shutdown(Shutdown::Both);
        }
        Fault::SometimesWrongAnswers if is_block && number % 2 == 0 && !body.is_empty() => {
            hit();
            change(&mut body);
        }
        _ => {}
    }
    client.write_all(&head)?;
    client.write_all(&body)?;
    state.served.fetch_add(1, Ordering::SeqCst);
    client.shutdown(Shutdown::Both)
}
