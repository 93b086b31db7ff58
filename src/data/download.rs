//! Fetches files of the public data sets ([`super::sets`]) by HTTP(S). A transfer that broke off goes on where it
//! stopped, where the server sends the rest of the same file. Files are checked by MD5.

use super::DataError;
use md5::Md5;
use sha2::Digest;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

const CHUNK: usize = 1 << 20;
/// Chunks that wait for the disk at most.
const AHEAD: usize = 4;
/// How long a connection, an answer or the next byte may take.
const WAIT: Duration = Duration::from_secs(30);

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> DataError {
    let path = path.to_path_buf();
    move |source| DataError::Io { path, source }
}

fn fail(path: &Path, reason: String) -> DataError {
    DataError::Format {
        path: path.into(),
        reason,
    }
}

/// An error of the network or the server, after which what was fetched stays.
fn network(url: &str, e: &dyn std::fmt::Display) -> DataError {
    let reason = format!("{e}; the same command goes on where this stopped");
    fail(Path::new(url), reason)
}

/// MD5 of a file, as hexadecimal text.
fn md5(path: &Path) -> Result<String, DataError> {
    let mut file = File::open(path).map_err(io(path))?;
    let (mut digest, mut buffer) = (Md5::new(), vec![0; CHUNK]);
    loop {
        let n = file.read(&mut buffer).map_err(io(path))?;
        if n == 0 {
            break;
        }
        digest.update(&buffer[..n]);
    }
    let sum = digest.finalize();
    Ok(sum.iter().map(|b| format!("{b:02x}")).collect())
}

/// The name of a URL's file.
fn name_of(url: &str) -> Result<&str, DataError> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    match path.rsplit('/').next().unwrap_or_default() {
        "" | "." | ".." => Err(fail(Path::new(url), "the address names no file".into())),
        name => Ok(name),
    }
}

/// Fetches `url` into `folder`. It goes on where an earlier try stopped (`.part`). The file gets its own name
/// only when its MD5 is right.
///
/// # Errors
/// No connection, no byte for 30 seconds, a server that answers with an error or with another part of the file than
/// was asked for, a full disk, a wrong sum, another process that fetches the same file.
pub fn fetch(
    url: &str,
    sum: &str,
    folder: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<PathBuf, DataError> {
    fetch_within(WAIT, url, sum, folder, progress)
}

fn fetch_within(
    wait: Duration,
    url: &str,
    sum: &str,
    folder: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<PathBuf, DataError> {
    let name = name_of(url)?;
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let path = folder.join(name);
    if path.is_file() {
        if md5(&path)? == sum {
            return Ok(path);
        }
        return Err(fail(
            &path,
            "it is there, but its MD5 is wrong: move it away to fetch it anew".into(),
        ));
    }
    let part = folder.join(format!("{name}.part"));
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(&part);
    let mut file = file.map_err(io(&part))?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Err(fail(&part, "another process is fetching it".into()));
    }
    let fetched = transfer(wait, url, &mut file, &part, progress);
    // An empty part is of no use to the next try.
    if fetched.is_err() && file.metadata().is_ok_and(|m| m.len() == 0) {
        let _ = std::fs::remove_file(&part);
    }
    fetched?;
    file.sync_all().map_err(io(&part))?;
    let found = md5(&part)?;
    if found != sum {
        std::fs::remove_file(&part).map_err(io(&part))?;
        return Err(fail(
            Path::new(url),
            format!("its MD5 is {found}, expected {sum}; what was fetched is removed: try again"),
        ));
    }
    std::fs::rename(&part, &path).map_err(io(&path))?;
    Ok(path)
}

/// Brings `file` to its end from the server.
fn transfer(
    wait: Duration,
    url: &str,
    file: &mut File,
    part: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<(), DataError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_resolve(Some(wait))
        .timeout_connect(Some(wait))
        .timeout_send_request(Some(wait))
        .timeout_recv_response(Some(wait))
        .http_status_as_error(false)
        .build()
        .into();
    let have = file.metadata().map_err(io(part))?.len();
    let ask = |from: u64| {
        let request = agent.get(url);
        let request = match from {
            0 => request,
            from => request.header("Range", format!("bytes={from}-")),
        };
        request.call().map_err(|e| network(url, &e))
    };
    let mut response = ask(have)?;
    let (mut done, all) = match Answer::of(&response, have) {
        Answer::Rest(all) => (have, all),
        Answer::Complete => return Ok(()),
        Answer::Whole(all) => (0, all),
        // Not the rest of what lies here: the server's file is another, or it cannot send parts.
        Answer::OtherPart(_) if have > 0 => {
            response = ask(0)?;
            match Answer::of(&response, 0) {
                Answer::Whole(all) => (0, all),
                other => return Err(network(url, &other.wrong())),
            }
        }
        other => return Err(network(url, &other.wrong())),
    };
    if done == 0 {
        file.set_len(0).map_err(io(part))?;
    }
    let chunks = read_ahead(response.into_body().into_reader());
    loop {
        let chunk = match chunks.recv_timeout(wait) {
            Ok(chunk) => chunk.map_err(|e| network(url, &e))?,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let text = format!(
                    "no byte came for {} seconds, at {done} bytes",
                    wait.as_secs()
                );
                return Err(network(url, &text));
            }
        };
        file.write_all(&chunk).map_err(io(part))?;
        done += chunk.len() as u64;
        progress(done, all.unwrap_or(done).max(done));
    }
    match all {
        Some(all) if all != done => Err(network(
            url,
            &format!("the connection ended at {done} of {all} bytes"),
        )),
        _ => Ok(()),
    }
}

/// What a server sends of a file.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// All of it, of so many bytes where that is known.
    Whole(Option<u64>),
    /// What is missing of a file of so many bytes.
    Rest(Option<u64>),
    /// Nothing is missing.
    Complete,
    /// Another part than was asked for, in words.
    OtherPart(String),
    /// No file, in words.
    Refused(String),
}

impl Answer {
    /// The answer to a request of everything from byte `have` on.
    fn of(response: &ureq::http::Response<ureq::Body>, have: u64) -> Self {
        let text = |name: &str| response.headers().get(name)?.to_str().ok();
        let status = response.status().as_u16();
        Self::parse(status, text("content-range"), text("content-length"), have)
    }

    fn parse(status: u16, range: Option<&str>, length: Option<&str>, have: u64) -> Self {
        let shown = || {
            format!(
                "status {status}, Content-Range {}",
                range.unwrap_or("missing")
            )
        };
        let length: Option<u64> = length.and_then(|l| l.trim().parse().ok());
        let (named, range) = (range.is_some(), range.and_then(content_range));
        match (status, range) {
            (200, _) => Self::Whole(length),
            // The rest to the end of the file, and nothing but it.
            (206, Some((Some((first, last)), all)))
                if have > 0
                    && first == have
                    && all.is_none_or(|all| last.checked_add(1) == Some(all)) =>
            {
                Self::Rest(all.or(last.checked_add(1)))
            }
            // A server that does not say which part it sends is believed: the sum decides in the end.
            (206, None) if have > 0 && !named => {
                Self::Rest(length.and_then(|l| have.checked_add(l)))
            }
            (416, Some((None, Some(all)))) if have > 0 && all == have => Self::Complete,
            (206 | 416, _) => Self::OtherPart(format!(
                "asked for the bytes from {have} on, the server answered with {}",
                shown()
            )),
            _ => Self::Refused(format!("the server answered {status}")),
        }
    }

    /// Why it is of no use.
    fn wrong(&self) -> String {
        match self {
            Self::OtherPart(why) | Self::Refused(why) => why.clone(),
            _ => "the server sent a part where the whole file was asked for".into(),
        }
    }
}

/// First and last byte and the file's length of `bytes 5-9/10`, `bytes 5-9/*` or `bytes */10`.
type ContentRange = (Option<(u64, u64)>, Option<u64>);

fn content_range(text: &str) -> Option<ContentRange> {
    let text = text.trim().strip_prefix("bytes")?.trim_start();
    let (part, all) = text.split_once('/')?;
    let all = match all.trim() {
        "*" => None,
        n => Some(n.parse().ok()?),
    };
    let part = match part.trim() {
        "*" => None,
        p => {
            let (first, last) = p.split_once('-')?;
            let ends: (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (ends.0 <= ends.1).then_some(Some(ends))?
        }
    };
    Some((part, all))
}

/// Reads in a thread of its own, so that the caller can stop waiting for a connection that is open and silent. The
/// thread ends with the connection, or when nobody takes its chunks.
fn read_ahead(mut reader: impl Read + Send + 'static) -> Receiver<Result<Vec<u8>, std::io::Error>> {
    let (send, receive) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        loop {
            let mut buffer = vec![0; CHUNK];
            let chunk = match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    buffer.truncate(n);
                    Ok(buffer)
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
            let last = chunk.is_err();
            if send.send(chunk).is_err() || last {
                return;
            }
        }
    });
    receive
}

#[cfg(test)]
mod tests;
