//! Fetches the public data sets: by HTTP(S), resumable, checked by MD5, unpacked by the user's tar or unzip.

use super::DataError;
use md5::Md5;
use sha2::Digest;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A public data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name here.
    pub name: &'static str,
    /// Its files: where each is, and its MD5 as its authors (or torchvision) publish it. The sum guards against broken transfers, not against attackers.
    pub files: &'static [(&'static str, &'static str)],
    /// What to pass to `--data`, below the folder of the download.
    pub folder: &'static str,
    /// How to unpack it; none where the files are read as they are, and lie in `folder`.
    pub unpack: Option<Unpack>,
}

/// Kinds of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    /// `tar -xzf`
    TarGz,
    /// `unzip`
    Zip,
}

/// Sets that can be fetched. Sums are those of torchvision's data set classes; Tiny-ImageNet's, which torchvision has not, that of Avalanche.
pub const SETS: &[Set] = &[
    Set {
        name: "cifar10",
        files: &[(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
        )],
        folder: "cifar-10-batches-bin",
        unpack: Some(Unpack::TarGz),
    },
    Set {
        name: "cifar100",
        files: &[(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            "03b5dce01913d631647c71ecec9e9cb8",
        )],
        folder: "cifar-100-binary",
        unpack: Some(Unpack::TarGz),
    },
    Set {
        name: "stl10",
        files: &[(
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            "91f7769df0f17e558f3565bffb0c7dfb",
        )],
        folder: "stl10_binary",
        unpack: Some(Unpack::TarGz),
    },
    Set {
        name: "tiny-imagenet",
        files: &[(
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "90528d7ca1a48142e341f4ef8d21d0de",
        )],
        folder: "tiny-imagenet-200",
        unpack: Some(Unpack::Zip),
    },
    Set {
        name: "mnist",
        files: &[
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            ),
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
                "d53e105ee54ea40749a09fcbcd1e9432",
            ),
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
                "9fb629c4189551a2d022fa330f9573f3",
            ),
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ],
        folder: "mnist",
        unpack: None,
    },
    Set {
        name: "fashion-mnist",
        files: &[
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            ),
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
                "25c81989df183df01b3e8a0aad5dffbe",
            ),
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
                "bef4ecab320f06d8554ea6380940ec79",
            ),
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ],
        folder: "fashion-mnist",
        unpack: None,
    },
];

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

/// Fetches `url` into `folder`, going on where an earlier try stopped (`.part`); the file appears under its own name only when its MD5 is right.
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
