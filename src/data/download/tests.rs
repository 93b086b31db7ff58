//! Servers that stall, that answer with another part than was asked for, and that are right.

use super::*;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

const WAIT: Duration = Duration::from_millis(300);

fn content() -> Vec<u8> {
    (0..5000u32).map(|i| (i * 7 % 251) as u8).collect()
}

fn sum(bytes: &[u8]) -> String {
    Md5::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// A server that answers the connections one after the other with these bytes, and keeps the last one open. It notes
/// the `Range` of each request.
fn serve(answers: Vec<Vec<u8>>) -> (String, Arc<Mutex<Vec<Option<String>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file.bin", listener.local_addr().unwrap());
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let noted = ranges.clone();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else {
                return;
            };
            let mut range = None;
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap_or_default().to_lowercase();
                if let Some(bytes) = line.strip_prefix("range: ") {
                    range = Some(bytes.to_string());
                }
                if line.is_empty() {
                    break;
                }
            }
            noted.lock().unwrap().push(range);
            let _ = stream.write_all(&answer);
            open.push(stream);
        }
        std::thread::sleep(20 * WAIT);
    });
    (url, ranges)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn whole() -> Vec<u8> {
    answer("200 OK", "Content-Length: 5000\r\n", &content())
}

/// The rest from a byte on, under a range that the server claims.
fn rest(from: usize, claimed: &str) -> Vec<u8> {
    let headers = format!(
        "Content-Length: {}\r\nContent-Range: {claimed}\r\n",
        5000 - from
    );
    answer("206 Partial Content", &headers, &content()[from..])
}

/// What came of a download: the file or the error, the length of the part that is left, and the ranges asked for.
type Fetched = (Result<Vec<u8>, String>, Option<u64>, Vec<Option<String>>);

/// Fetches where `have` bytes lie already.
fn fetched(have: &[u8], answers: Vec<Vec<u8>>) -> Fetched {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("file.bin.part");
    if !have.is_empty() {
        std::fs::write(&part, have).unwrap();
    }
    let (url, ranges) = serve(answers);
    let result = fetch_within(WAIT, &url, &sum(&content()), dir.path(), &|_, _| ());
    let left = std::fs::metadata(&part).ok().map(|m| m.len());
    let ranges = ranges.lock().unwrap().clone();
    let result = result.map(|path| std::fs::read(path).unwrap());
    (result.map_err(|e| e.to_string()), left, ranges)
}

#[test]
fn a_part_is_continued_only_by_the_rest_of_the_same_file() {
    let asked = vec![Some("bytes=2000-".to_string())];
    let (file, left, ranges) =
        fetched(&content()[..2000], vec![rest(2000, "bytes 2000-4999/5000")]);
    assert_eq!((file, left, ranges), (Ok(content()), None, asked.clone()));
    // So is one that the server does not name.
    let unnamed = answer(
        "206 Partial Content",
        "Content-Length: 3000\r\n",
        &content()[2000..],
    );
    let (file, _, ranges) = fetched(&content()[..2000], vec![unnamed]);
    assert_eq!((file, ranges), (Ok(content()), asked.clone()));
    // A server without ranges sends all, and all is taken from the start.
    let (file, _, ranges) = fetched(&content()[..2000], vec![whole()]);
    assert_eq!((file, ranges), (Ok(content()), asked.clone()));
    // Another part than was asked for is not appended; the file is fetched anew.
    let anew = vec![asked[0].clone(), None];
    for claimed in [
        "bytes 0-2999/5000",
        "bytes 2000-3999/5000",
        "bytes 2000-4999/9999",
        "nonsense",
    ] {
        let (file, _, ranges) = fetched(&content()[..2000], vec![rest(2000, claimed), whole()]);
        assert_eq!((file, ranges), (Ok(content()), anew.clone()), "{claimed}");
    }
    // More lies here than the server has: it is another file.
    let beyond = answer(
        "416 Range Not Satisfiable",
        "Content-Range: bytes */5000\r\n",
        b"",
    );
    let (file, _, ranges) = fetched(
        &[content(), vec![1]].concat(),
        vec![beyond.clone(), whole()],
    );
    assert_eq!(file, Ok(content()));
    assert_eq!(ranges, [Some("bytes=5001-".to_string()), None]);
    // All of it lies here.
    let (file, left, ranges) = fetched(&content(), vec![beyond]);
    assert_eq!((file, left, ranges.len()), (Ok(content()), None, 1));
}

#[test]
fn a_silent_server_is_given_up_and_what_came_is_kept() {
    let cut = answer("200 OK", "Content-Length: 5000\r\n", &content()[..1500]);
    let (file, left, _) = fetched(&[], vec![cut]);
    assert!(
        file.as_ref().is_err_and(|e| e.contains("no byte came")),
        "{file:?}"
    );
    assert_eq!(left, Some(1500));
    // Silent from the start: nothing is left.
    let (file, left, _) = fetched(&[], vec![Vec::new()]);
    assert!(
        file.as_ref().is_err_and(|e| e.contains("goes on where")),
        "{file:?}"
    );
    assert_eq!(left, None);
    // A part that nobody asked for.
    let (file, left, _) = fetched(&[], vec![rest(0, "bytes 0-4999/5000")]);
    assert!(file.as_ref().is_err_and(|e| e.contains("206")), "{file:?}");
    assert_eq!(left, None);
    let (file, ..) = fetched(
        &[],
        vec![answer("404 Not Found", "Content-Length: 0\r\n", b"")],
    );
    assert!(file.is_err_and(|e| e.contains("answered 404")));
}

#[test]
fn addresses_name_a_file() {
    assert_eq!(name_of("http://a/b/c.zip?download=1#x").unwrap(), "c.zip");
    for bad in ["http://a/b/", "http://a/..", ""] {
        assert!(name_of(bad).is_err(), "{bad}");
    }
}
