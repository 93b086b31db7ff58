//! Reads at an offset, which several threads may do in one file at once, and word to the system of what comes next.

use std::fs::File;
use std::io;

/// Fills `out` with the bytes of `file` from `at` on.
///
/// # Errors
/// As the system says; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
#[cfg(unix)]
pub(in crate::data) fn read_at(file: &File, out: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

/// Fills `out` with the bytes of `file` from `at` on.
///
/// # Errors
/// As the system says; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
#[cfg(windows)]
pub(in crate::data) fn read_at(file: &File, mut out: &mut [u8], mut at: u64) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Tells the system that these bytes are read soon. Where it cannot be told, or does not listen, nothing changes.
pub(in crate::data) fn will_need(file: &File, at: u64, bytes: u64) {
    #[cfg(target_os = "linux")]
    {
        let bytes = std::num::NonZeroU64::new(bytes);
        let _ = rustix::fs::fadvise(file, at, bytes, rustix::fs::Advice::WillNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, at, bytes);
}

/// Tells the system that these bytes were read and are not needed for long, so that it need not keep them.
pub(in crate::data) fn done_with(file: &File, at: u64, bytes: u64) {
    #[cfg(target_os = "linux")]
    {
        let bytes = std::num::NonZeroU64::new(bytes);
        let _ = rustix::fs::fadvise(file, at, bytes, rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, at, bytes);
}
