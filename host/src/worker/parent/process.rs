//! A worker as a child process: its pipes, and the last words on its stderr.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command as Program, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::super::event::{Command, Event};
use super::super::{Job, attempt};
use super::WorkerFailure;
use crate::platform;

/// Lines of stderr that an error repeats.
const LAST_WORDS: usize = 20;
/// Bytes of stderr that are kept for them.
const KEPT: usize = 16 << 10;

pub(super) struct Process {
    pub(super) events: Receiver<Event>,
    child: Child,
    stdin: Mutex<Option<ChildStdin>>,
    stderr: Receiver<Vec<u8>>,
}

/// How a worker ended.
pub(super) struct Ended {
    pub(super) status: Option<ExitStatus>,
    pub(super) stderr: Vec<String>,
}

impl Process {
    pub(super) fn start(program: &Path, job: &Job, dir: &Path) -> Result<Self, WorkerFailure> {
        let (file, log) = write_job(job, dir).map_err(|source| WorkerFailure::Files { dir: dir.into(), source })?;
        let mut command = Program::new(program);
        command.arg("worker").arg(file).envs(platform::thread_variables(job.request.threads));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        platform::own_process_group(&mut command);
        let mut child = command.spawn().map_err(|source| WorkerFailure::Spawn { program: program.into(), source })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Self { events: read_events(stdout), stderr: keep_stderr(stderr, log), child, stdin: Mutex::new(stdin) })
    }

    pub(super) fn ask_to_stop(&self) {
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(pipe), Ok(mut line)) = (stdin.as_mut(), serde_json::to_vec(&Command::Cancel)) {
            line.push(b'\n');
            // A worker that is gone needs no telling.
            let _ = pipe.write_all(&line);
        }
    }

    pub(super) fn terminate(&self) {
        platform::terminate_group(self.child.id());
    }

    pub(super) fn kill(&self) {
        platform::kill_group(self.child.id());
    }

    /// Waits for the process, whose pipe is closed already.
    pub(super) fn end(mut self) -> Ended {
        let status = self.child.wait().ok();
        // What the plugin started may live on and hold stderr open; it belongs to the group.
        platform::kill_group(self.child.id());
        let kept = self.stderr.recv_timeout(Duration::from_secs(2)).unwrap_or_default();
        Ended { status, stderr: last_lines(&kept) }
    }
}

fn write_job(job: &Job, dir: &Path) -> io::Result<(std::path::PathBuf, File)> {
    std::fs::create_dir_all(dir)?;
    let dir = dir.canonicalize()?;
    let path = dir.join(attempt::JOB);
    std::fs::write(&path, serde_json::to_vec_pretty(job)?)?;
    Ok((path, File::options().create(true).append(true).open(dir.join(attempt::STDERR))?))
}

/// Lines that are no events are skipped: the other side may be newer.
fn read_events(stdout: Option<ChildStdout>) -> Receiver<Event> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let lines = stdout.into_iter().flat_map(|pipe| BufReader::new(pipe).lines().map_while(Result::ok));
        for event in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Copies stderr to the log, and gives its end when it closes.
fn keep_stderr(stderr: Option<ChildStderr>, mut log: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut chunk = [0; 4096];
        if let Some(mut pipe) = stderr {
            while let Ok(n @ 1..) = pipe.read(&mut chunk) {
                // A full disk must not stop the worker from speaking.
                let _ = log.write_all(&chunk[..n]);
                kept.extend_from_slice(&chunk[..n]);
                kept.drain(..kept.len().saturating_sub(KEPT));
            }
        }
        let _ = sender.send(kept);
    });
    receiver
}

fn last_lines(kept: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(kept);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_WORDS)..].iter().map(|line| (*line).to_owned()).collect()
}
