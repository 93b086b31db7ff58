//! Where the images of a set are while they are not in memory: a file a kind of place. A place hands out an image's
//! bytes as they are stored; what these become is the same for all of them (`data::pixels`).

pub(super) mod chosen;
pub(super) mod files;
pub(super) mod pack;
#[cfg(feature = "tables")]
pub(super) mod parquet;
pub(super) mod pread;
pub(super) mod tar;
pub(super) mod tar_index;

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

/// Why the bytes of an image are not at hand.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The image is bad: it is absent, or no whole image. Another one stands in for it.
    #[error("{0}")]
    Bad(String),
    /// The storage failed. What may pass is tried again.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// What is read is not what this program wrote there: no image of that place is to be trusted.
    #[error("{0}")]
    Corrupt(String),
}

/// What the bytes of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A file of a known format.
    Encoded,
    /// RGB, rows, columns: nothing is left to be decoded.
    Pixels,
}

/// A place of images, which are numbered from 0. It is read by several threads at once.
pub(super) trait Source: Debug + Send + Sync {
    /// The image's name for people: its path relative to the data set, or its member's name.
    fn name(&self, image: u32) -> String;

    /// Replaces what is in `bytes` by the image's bytes.
    ///
    /// # Errors
    /// [`Fault`].
    fn read(&self, image: u32, bytes: &mut Vec<u8>) -> Result<(), Fault>;

    /// What these bytes are.
    fn form(&self) -> Form {
        Form::Encoded
    }

    /// Bytes of the image as it is stored, where these are known without reading it.
    fn size(&self, _image: u32) -> Option<u64> {
        None
    }

    /// Width and height of the image that its bytes were made of, where these are no longer its own.
    fn side(&self, _image: u32) -> Option<(u32, u32)> {
        None
    }

    /// Height and width of an image that is kept as pixels; none where it is a square.
    fn kept(&self, _image: u32) -> Option<(usize, usize)> {
        None
    }

    /// Says which images are asked for soon, so that the storage may begin.
    fn will_need(&self, _images: &[u32]) {}

    /// The block that holds an image, where images come cheaply only together with those of their block.
    fn block(&self, _image: u32) -> u32 {
        0
    }

    /// Keeps at most so many bytes of images that were read together with others.
    fn keep(&mut self, _bytes: u64) {}

    /// So many blocks can be kept at once.
    fn blocks_at_once(&self) -> usize {
        usize::MAX
    }

    /// Does [`Source::block`] tell what lies together?
    fn has_blocks(&self) -> bool {
        !self.random_access()
    }

    /// Images are read singly, in any order, at the cost of their bytes. Where they are not, they are drawn by blocks
    /// (`data.shuffle`).
    fn random_access(&self) -> bool {
        true
    }
}

/// A place whose images have names, before it is known which of them are used.
pub(super) trait Place {
    /// The images `members`, in this order.
    fn source(self: Box<Self>, members: Vec<PathBuf>) -> Box<dyn Source>;
}

/// Pauses before a read is tried again: a network file system comes back within seconds, or does not.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(4),
];

/// Can an error of the storage pass?
fn may_pass(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
        ResourceBusy, StaleNetworkFileHandle, TimedOut, WouldBlock,
    };
    // EIO has no kind of its own; it is what a failing disk and a network file system without its server say.
    const EIO: i32 = 5;
    matches!(
        e.kind(),
        ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | ResourceBusy
            | StaleNetworkFileHandle
            | TimedOut
            | WouldBlock
    ) || (cfg!(unix) && e.raw_os_error() == Some(EIO))
}

/// Reads an image; what may pass is tried again three times, within some 5 seconds. An image that the storage says it
/// does not have, or does not give, is bad.
///
/// # Errors
/// [`Fault`].
pub(super) fn read_patiently(
    source: &dyn Source,
    image: u32,
    bytes: &mut Vec<u8>,
) -> Result<(), Fault> {
    let mut pauses = PAUSES.iter();
    loop {
        match source.read(image, bytes) {
            Err(Fault::Io(e)) if may_pass(&e) => match pauses.next() {
                Some(pause) => std::thread::sleep(*pause),
                None => {
                    let text = format!("{e}, four times within some seconds");
                    return Err(Fault::Io(std::io::Error::new(e.kind(), text)));
                }
            },
            Err(Fault::Io(e)) => return Err(Fault::Bad(e.to_string())),
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Fails so many times, then gives one byte.
    #[derive(Debug)]
    struct Failing(AtomicUsize, ErrorKind);

    impl Source for Failing {
        fn name(&self, _: u32) -> String {
            "x".into()
        }
        fn read(&self, _: u32, bytes: &mut Vec<u8>) -> Result<(), Fault> {
            let left = self.0.load(Ordering::Relaxed);
            if left > 0 {
                self.0.store(left - 1, Ordering::Relaxed);
                return Err(Error::from(self.1).into());
            }
            *bytes = vec![7];
            Ok(())
        }
    }

    fn read(times: usize, kind: ErrorKind) -> Result<(), Fault> {
        read_patiently(&Failing(times.into(), kind), 0, &mut Vec::new())
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_a_bad_image() {
        assert!(read(0, ErrorKind::TimedOut).is_ok());
        assert!(read(1, ErrorKind::StaleNetworkFileHandle).is_ok());
        assert!(matches!(read(1, ErrorKind::NotFound), Err(Fault::Bad(_))));
        let gone = read(9, ErrorKind::TimedOut);
        assert!(matches!(gone, Err(Fault::Io(e)) if e.to_string().contains("four times")));
    }
}
