//! HTTP/1.1, one request a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::repository::{git_id, is_large, sha256};
use super::weights::reaches_into;
use super::{Content, Served, State, TOKEN};

const SLOW_BLOCK: usize = 16 << 10;

/// Answers until the process ends.
pub fn start(listener: TcpListener, state: Arc<Mutex<State>>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = state.clone();
            std::thread::spawn(move || serve(stream, &state));
        }
    });
}

struct Request {
    path: String,
    range: Option<String>,
    host: String,
    token: Option<String>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// How much of the body is sent before the connection breaks.
    sent: usize,
    /// How long it rests after each of [`SLOW_BLOCK`] bytes.
    rest: Duration,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: Vec::new(), sent: body.len(), body, rest: Duration::ZERO }
    }

    fn refused(status: u16, code: &str, message: &str) -> Self {
        Self::new(status, message).with("X-Error-Code", code).with("X-Error-Message", message)
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(request) = read_request(&stream) else { return };
    let answer = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answer(&request, &mut state);
        let bytes = answer.sent as u64;
        state.served.push(Served { path: request.path, range: request.range, bytes });
        answer
    };
    let mut head = format!("HTTP/1.1 {} Status\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "Connection: close\r\n\r\n";
    // Whoever went away hears nothing.
    let _ = send(&mut stream, &head, &answer);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0; 1]);
}

fn send(stream: &mut TcpStream, head: &str, answer: &Answer) -> std::io::Result<()> {
    stream.write_all(head.as_bytes())?;
    for block in answer.body[..answer.sent].chunks(SLOW_BLOCK) {
        stream.write_all(block)?;
        std::thread::sleep(answer.rest);
    }
    Ok(())
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut request = Request { path, range: None, host: String::new(), token: None };
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "host" => request.host = value.to_owned(),
            "authorization" => request.token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    Some(request)
}

fn answer(request: &Request, state: &mut State) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default().replace("%2F", "/");
    if let Some(digest) = path.strip_prefix("/storage/") {
        return storage(request, digest, state);
    }
    let listed = path.strip_prefix("/api/models/").and_then(|rest| rest.split_once("/revision/"));
    if let Some((repository, revision)) = listed {
        return match known(repository, revision, state) {
            Ok(commit) => Answer::new(200, commit.listing().to_string()).with("Content-Type", "application/json"),
            Err(refusal) => refusal,
        };
    }
    let Some((repository, rest)) = path[1..].split_once("/resolve/") else { return Answer::new(404, "") };
    let Some((revision, name)) = rest.split_once('/') else { return Answer::new(404, "") };
    if state.repositories.is_gated(repository) && request.token.as_deref() != Some(TOKEN) {
        let status = if request.token.is_some() { 403 } else { 401 };
        return Answer::refused(status, "GatedRepo", "Access to this model is restricted");
    }
    let commit = match known(repository, revision, state) {
        Ok(commit) => commit,
        Err(refusal) => return refusal,
    };
    let Some(content) = commit.files.get(name) else { return Answer::refused(404, "EntryNotFound", "Entry not found") };
    let commit_id = commit.id.clone();
    if is_large(name) {
        let digest = sha256(content);
        // By another name of this machine, so that a token that goes along is seen.
        let port = request.host.rsplit(':').next().unwrap_or_default();
        return Answer::new(302, "")
            .with("Location", format!("http://localhost:{port}/storage/{digest}"))
            .with("X-Repo-Commit", commit_id)
            .with("X-Linked-Size", content.len.to_string())
            .with("X-Linked-Etag", format!("\"{digest}\""));
    }
    part(request, content).with("X-Repo-Commit", commit_id).with("ETag", format!("\"{}\"", git_id(content)))
}

fn known<'a>(repository: &str, revision: &str, state: &'a State) -> Result<&'a super::Commit, Answer> {
    if !state.repositories.has(repository) {
        return Err(Answer::refused(404, "RepoNotFound", "Repository not found"));
    }
    let commit = state.repositories.commit(repository, revision);
    commit.ok_or_else(|| Answer::refused(404, "RevisionNotFound", &format!("Invalid rev id: {revision}")))
}

/// Large files, from where no token may arrive.
fn storage(request: &Request, digest: &str, state: &mut State) -> Answer {
    if request.token.is_some() {
        return Answer::refused(400, "Token", "the token was sent to the storage");
    }
    if state.dead {
        return Answer::new(503, "");
    }
    let Some((name, content)) = state.repositories.by_sha256(digest) else { return Answer::new(404, "") };
    let range = range(request, content);
    if state.refuse_weights && reaches_into(name, content, &range) {
        return Answer::refused(400, "Weights", &format!("weights of {name} were asked for: {range:?}"));
    }
    let mut answer = part(request, content);
    if state.corrupt
        && range.end == content.len
        && let Some(last) = answer.body.last_mut()
    {
        *last ^= 1;
    }
    if state.slow {
        answer.rest = Duration::from_secs(1);
    }
    if let Some(limit) = state.break_after.filter(|limit| *limit < answer.body.len() as u64) {
        answer.sent = limit as usize;
        state.dead = state.then_die;
    }
    answer
}

fn part(request: &Request, content: &Content) -> Answer {
    let range = range(request, content);
    let (body, Range { start, end }) = (content.part(&range), range);
    match request.range {
        None => Answer::new(200, body),
        Some(_) => Answer::new(206, body)
            .with("Content-Range", format!("bytes {start}-{}/{}", end.saturating_sub(1), content.len)),
    }
}

fn range(request: &Request, content: &Content) -> Range<u64> {
    let len = content.len;
    let asked = request.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((start, last)) = asked else { return 0..len };
    let end = last.parse().map_or(len, |last: u64| len.min(last + 1));
    start.parse().unwrap_or(0).min(end)..end
}
