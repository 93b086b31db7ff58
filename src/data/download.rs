//! Fetches files of the public data sets ([`super::sets`]) by HTTP(S). A transfer that broke off goes on
//! where it stopped. Files are checked by MD5.

use super::DataError;
use md5::Md5;
use sha2::Digest;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CHUNK: usize = 1 << 20;
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
    Ok(digest
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect())
}

/// Fetches `url` into `folder`. It goes on where an earlier try stopped (`.part`). The file gets its own name
/// only when its MD5 is right.
///
/// # Errors
/// No connection, a server that answers with an error, a full disk, a wrong sum.
pub fn fetch(
    url: &str,
    sum: &str,
    folder: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<PathBuf, DataError> {
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let name = url.rsplit('/').next().unwrap_or("download");
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
    let have = std::fs::metadata(&part).map_or(0, |m| m.len());
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(WAIT))
        .timeout_recv_response(Some(WAIT))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let network = |e: &dyn std::fmt::Display| {
        fail(
            Path::new(url),
            format!("{e}; the same command goes on where this stopped"),
        )
    };
    let mut response = request.call().map_err(|e| network(&e))?;
    let status = response.status().as_u16();
    let length = |r: &ureq::http::Response<ureq::Body>| {
        r.headers()
            .get("content-length")
            .and_then(|v| v.to_str().ok()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    // 416: everything was there already.
    let (mut done, whole) = match status {
        206 => (have, false),
        200 => (0, true),
        416 => (have, false),
        _ => return Err(network(&format!("the server answered {status}"))),
    };
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .append(!whole)
        .truncate(whole)
        .open(&part)
        .map_err(io(&part))?;
    if status != 416 {
        let all = done + length(&response);
        let mut reader = response.body_mut().as_reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = reader.read(&mut buffer).map_err(|e| network(&e))?;
            if n == 0 {
                break;
            }
            file.write_all(&buffer[..n]).map_err(io(&part))?;
            done += n as u64;
            progress(done, all.max(done));
        }
        if all > done {
            return Err(network(&format!(
                "the connection ended at {done} of {all} bytes"
            )));
        }
    }
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
