//! `tail`: a log query that stays, over WebSocket (contracts/loki.md 1.12).

use super::answer::{push_entry, push_object, push_string, push_strings};
use super::params::{count, encoding_flags, time_of};
use super::query::{check_limit, parsed};
use super::{Api, Refused, invalid};
use crate::logs::Config;
use crate::logs::logql::ast::{Expr, LogExpr};
use crate::logs::logql::eval::{Direction, Engine, FoundEntry, LogQuery, Stats, run_log};
use crate::logs::tail::{Due, Outbox, Tail, filter};
use crate::model::{Labels, TenantId, TimeRange, time};
use crate::query::QueryError;
use crate::web::Params;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::response::Response;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Seconds for which entries may be held back.
const DELAY_MAX: u64 = 5;
const LIMIT_DEFAULT: usize = 100;
/// How far back the entries reach that a tail begins with, by default.
const BACK: i64 = 3600 * time::SECOND;
const PING_EVERY: Duration = Duration::from_secs(1);
/// A tail is closed after this time; Grafana opens a new one.
const DURATION_MAX: Duration = Duration::from_secs(3600);
/// A client that takes nothing for this time is cut off.
const SEND_MAX: Duration = Duration::from_secs(300);
/// A client that makes no room for this time loses entries until it does.
const PATIENCE: Duration = Duration::from_secs(1);
/// Clients have nothing to say but `close` and `pong`.
const MESSAGE_MAX_BYTES: usize = 64 << 10;
/// An entry that was being stored while the first answer was made may be in both for this time.
const OVERLAP: Duration = Duration::from_secs(2);
/// The internal error of RFC 6455 7.4.1, under which Loki gives all of its reasons.
const INTERNAL: u16 = 1011;
/// A reason of more bytes does not fit into a control frame.
const REASON_MAX_BYTES: usize = 123;

/// The two forms of a frame.
#[derive(Clone)]
enum Form {
    Loki(Option<Vec<String>>),
    Legacy,
}

struct Asked {
    tenant: TenantId,
    log: Arc<LogExpr>,
    start: i64,
    limit: usize,
    delay: Duration,
    form: Form,
}

pub async fn tail(State(api): State<Api>, request: Request) -> Response {
    answer(api, request, false).await
}

pub async fn legacy_tail(State(api): State<Api>, request: Request) -> Response {
    answer(api, request, true).await
}

async fn answer(api: Api, request: Request, legacy: bool) -> Response {
    let (mut parts, body) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let params = match <Params as axum::extract::FromRequest<()>>::from_request(Request::from_parts(parts, body), &()).await {
        Ok(params) => params,
        Err(response) => return response,
    };
    match asked(&api, &params, upgrade, legacy) {
        Ok((upgrade, asked)) => upgrade
            .max_message_size(MESSAGE_MAX_BYTES)
            .max_frame_size(MESSAGE_MAX_BYTES)
            .on_upgrade(move |socket| follow(api, asked, socket)),
        Err(refused) => super::refusal(&refused),
    }
}

fn asked(
    api: &Api,
    params: &Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    legacy: bool,
) -> Result<(WebSocketUpgrade, Asked), Refused> {
    let tenant = api.tenancy.tenant(&params.headers).map_err(Refused::Tenant)?;
    let asked = parse(params, api.clock.now(), api.config(), tenant, legacy).map_err(Refused::Query)?;
    if !api.door.store().is_ready() {
        return Err(Refused::Query(QueryError::NotReady));
    }
    let upgrade = upgrade.map_err(|_| Refused::Query(invalid("tail needs a WebSocket: the request does not ask for an upgrade")))?;
    Ok((upgrade, asked))
}

fn parse(params: &Params, now: i64, config: &Config, tenant: TenantId, legacy: bool) -> Result<Asked, QueryError> {
    let Expr::Log(log) = parsed(params)? else { return Err(invalid("only log selector is supported")) };
    let limit = count(params, "limit", LIMIT_DEFAULT)?;
    check_limit(limit, config)?;
    let delay = match params.non_empty("delay_for") {
        None => 0,
        Some(text) => {
            text.parse::<u64>().map_err(|_| invalid(format!("could not parse 'delay_for' parameter: {text:?} is not an integer")))?
        }
    };
    if delay > DELAY_MAX {
        return Err(invalid(format!("delay_for can't be greater than {DELAY_MAX}")));
    }
    let start = time_of(params, "start")?.unwrap_or(now.saturating_sub(BACK));
    let form = if legacy { Form::Legacy } else { Form::Loki(encoding_flags(params)) };
    Ok(Asked { tenant, log: Arc::new(log), start, limit, delay: Duration::from_secs(delay), form })
}

/// Why a tail ends, if not because its client has gone.
struct Ended(String);

async fn follow(api: Api, asked: Asked, mut socket: WebSocket) {
    let Err(Ended(reason)) = follow_to_end(&api, &asked, &mut socket).await else { return };
    let mut cut = reason.len().min(REASON_MAX_BYTES);
    while !reason.is_char_boundary(cut) {
        cut -= 1;
    }
    let frame = CloseFrame { code: INTERNAL, reason: reason[..cut].into() };
    let _ = tokio::time::timeout(PATIENCE, socket.send(Message::Close(Some(frame)))).await;
}

async fn follow_to_end(api: &Api, asked: &Asked, socket: &mut WebSocket) -> Result<(), Ended> {
    // First the live entries, then a look back: what comes meanwhile waits.
    let tail = api.tails.follow(&asked.tenant, &asked.log.matchers, api.config().tails_max).map_err(|e| Ended(e.to_string()))?;
    let before = look_back(api, asked).await.map_err(|e| Ended(e.to_string()))?;
    let looked_at = Instant::now();
    for entries in before.chunks(crate::logs::tail::FRAME_MAX) {
        let text = frame(entries, &[], &asked.form);
        if !send(socket, Message::Text(text.into())).await {
            return Ok(());
        }
    }
    let outbox = Arc::new(Outbox::new(asked.delay, tail.missed()));
    let filling = tokio::spawn(fill(api.clone(), tail, asked.tenant.clone(), asked.log.clone(), outbox.clone(), (before, looked_at)));
    let sent = serve(socket, &outbox, &asked.form).await;
    filling.abort();
    sent
}

/// The newest entries there are, oldest first.
async fn look_back(api: &Api, asked: &Asked) -> Result<Vec<FoundEntry>, QueryError> {
    let context = api.pool.context(asked.tenant.clone());
    let (store, ctx, log, now) = (api.door.store().clone(), context.clone(), asked.log.clone(), api.clock.now());
    let range = TimeRange::new(asked.start, now.saturating_add(1).max(asked.start));
    let query = LogQuery { range, direction: Direction::Backward, limit: asked.limit, interval: 0 };
    let work = move || {
        let view = store.view(&ctx.tenant);
        let mut entries = run_log(&Engine { view: &view, ctx: &ctx, now }, &log, &query, &mut Stats::default())?;
        entries.reverse();
        Ok(entries)
    };
    api.pool.run(&context, work).await
}

/// Runs the pipeline over what arrives, until nothing more can.
async fn fill(api: Api, mut tail: Tail, tenant: TenantId, log: Arc<LogExpr>, outbox: Arc<Outbox>, before: (Vec<FoundEntry>, Instant)) {
    let (mut before, looked_at) = before;
    let mut keeps_up = true;
    loop {
        if !keeps_up {
            // A client that takes nothing costs nothing: what comes meanwhile is counted where it comes in.
            outbox.room().await;
        }
        let Some(mut arrival) = tail.arrival().await else { break };
        tail.sift(&mut arrival);
        let overlaps = arrival.applied_at <= looked_at + OVERLAP;
        let (ctx, log, now) = (api.pool.context(tenant.clone()), log.clone(), api.clock.now());
        // Not on the query pool: a long query there would hold up what is live. Tails are few.
        let filtered = tokio::task::spawn_blocking(move || filter(arrival, &log, &ctx, now)).await;
        let mut entries = match filtered {
            Ok(Ok(entries)) => entries,
            Ok(Err(error)) => {
                tracing::warn!(%error, "entries of a tail cannot be filtered");
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "the pipeline of a tail panicked");
                continue;
            }
        };
        if overlaps {
            entries.retain(|e| {
                let first = before.partition_point(|b| b.ts < e.ts);
                !before[first..].iter().take_while(|b| b.ts == e.ts).any(|b| b == e)
            });
        } else {
            before = Vec::new();
        }
        let patience = if keeps_up { PATIENCE } else { Duration::ZERO };
        keeps_up = outbox.add(entries, tokio::time::Instant::now() + patience).await;
    }
    outbox.close();
}

async fn serve(socket: &mut WebSocket, outbox: &Outbox, form: &Form) -> Result<(), Ended> {
    let end = tokio::time::sleep(DURATION_MAX);
    tokio::pin!(end);
    let mut pings = tokio::time::interval(PING_EVERY);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => continue,
            },
            due = outbox.due() => match due {
                Some(Due { entries, missed }) => {
                    if missed.count > missed.named.len() as u64 {
                        tracing::warn!(missed = missed.count, named = missed.named.len(), "a slow tail client missed entries");
                    }
                    Message::Text(frame(&entries, &missed.named, form).into())
                }
                None => return Ok(()),
            },
            _ = pings.tick() => Message::Ping(bytes::Bytes::new()),
            () = &mut end => return Err(Ended("reached tail max duration limit".into())),
        };
        if !send(socket, message).await {
            return Ok(());
        }
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(tokio::time::timeout(SEND_MAX, socket.send(message)).await, Ok(Ok(())))
}

fn frame(entries: &[FoundEntry], missed: &[(i64, Labels)], form: &Form) -> String {
    match form {
        Form::Loki(flags) => loki_frame(entries, missed, flags.as_deref()),
        Form::Legacy => legacy_frame(entries, missed),
    }
}

/// Each entry is a stream of its own.
fn loki_frame(entries: &[FoundEntry], missed: &[(i64, Labels)], flags: Option<&[String]>) -> String {
    let mut out = String::from(r#"{"streams":["#);
    for (i, entry) in entries.iter().enumerate() {
        out.push_str(if i > 0 { r#",{"stream":"# } else { r#"{"stream":"# });
        push_object(&mut out, super::answer::shown_in_stream(entry, flags));
        out.push_str(r#","values":["#);
        push_entry(&mut out, entry, flags);
        out.push_str("]}");
    }
    out.push(']');
    if !missed.is_empty() {
        out.push_str(r#","dropped_entries":["#);
        for (i, (ts, labels)) in missed.iter().enumerate() {
            let _ = write!(out, r#"{}{{"timestamp":"{ts}","labels":"#, if i > 0 { "," } else { "" });
            push_object(&mut out, labels.iter());
            out.push('}');
        }
        out.push(']');
    }
    if let Some(flags) = flags {
        out.push_str(r#","encodingFlags":"#);
        push_strings(&mut out, flags.iter().map(String::as_str));
    }
    out.push('}');
    out
}

fn legacy_frame(entries: &[FoundEntry], missed: &[(i64, Labels)]) -> String {
    let mut out = String::from(r#"{"streams":["#);
    for (i, entry) in entries.iter().enumerate() {
        out.push_str(if i > 0 { r#",{"labels":"# } else { r#"{"labels":"# });
        let labels = Labels::from_sorted(entry.labels.iter().map(|(n, v, _)| (n.as_str(), v.as_str())));
        push_string(&mut out, &labels.to_string());
        let _ = write!(out, r#","entries":[{{"ts":"{}","line":"#, time::format_rfc3339(entry.ts));
        push_string(&mut out, &entry.line);
        out.push_str("}]}");
    }
    out.push(']');
    if !missed.is_empty() {
        out.push_str(r#","dropped_entries":["#);
        for (i, (ts, labels)) in missed.iter().enumerate() {
            let _ = write!(out, r#"{}{{"timestamp":"{}","labels":"#, if i > 0 { "," } else { "" }, time::format_rfc3339(*ts));
            push_string(&mut out, &labels.to_string());
            out.push('}');
        }
        out.push(']');
    }
    out.push('}');
    out
}
