//! TensorBoard event files: `TFRecord` framing (length, masked CRC-32C) around the few protobuf fields that scalars need
//! (`tensorflow/core/util/event.proto`: wall time 1, step 2, file version 3, summary 5; a value: tag 1, simple value 2).

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Appends scalars to one event file.
#[derive(Debug)]
pub struct Events {
    file: File,
}

impl Events {
    /// Creates `events.out.tfevents.<seconds>.<process>` in `folder`: a name of its own for each start, so a resumed run adds a file.
    ///
    /// # Errors
    /// The file cannot be made, or exists.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let name = format!(
            "events.out.tfevents.{}.{}",
            wall_time() as u64,
            std::process::id()
        );
        let mut events = Self {
            file: File::create_new(folder.join(name))?,
        };
        let mut message = time_and_step(0);
        bytes_field(&mut message, 3, b"brain.Event:2");
        events.record(&message)?;
        Ok(events)
    }

    /// Writes scalars of one step.
    ///
    /// # Errors
    /// The disk.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f32)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut one = Vec::new();
            bytes_field(&mut one, 1, tag.as_bytes());
            one.push(2 << 3 | 5);
            one.extend(value.to_le_bytes());
            bytes_field(&mut summary, 1, &one);
        }
        let mut message = time_and_step(step);
        bytes_field(&mut message, 5, &summary);
        self.record(&message)
    }

    /// One write a record, so that a killed run leaves whole records.
    fn record(&mut self, message: &[u8]) -> io::Result<()> {
        self.file.write_all(&frame(message))
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(message.len() + 16);
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(message);
    out.extend(masked(message).to_le_bytes());
    out
}

/// The mask keeps a CRC of data that holds CRCs from being weak (`tensorflow/core/lib/hash/crc32c.h`).
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

fn wall_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

fn time_and_step(step: u64) -> Vec<u8> {
    let mut out = vec![1 << 3 | 1];
    out.extend(wall_time().to_le_bytes());
    out.push(2 << 3);
    varint(&mut out, step);
    out
}

fn bytes_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_and_mask_follow_the_published_vectors() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        // The first 12 bytes of every file whose first record is 24 bytes long, as TensorFlow writes them.
        assert_eq!(
            masked(&24u64.to_le_bytes()).to_le_bytes(),
            [0xa3, 0x7f, 0x4b, 0x22]
        );
    }

    #[test]
    fn varints_follow_protobuf() {
        let mut out = Vec::new();
        varint(&mut out, 300);
        assert_eq!(out, [0xac, 0x02]);
    }

    #[test]
    fn a_file_is_a_chain_of_whole_records() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut events = Events::create(folder.path())?;
        events.scalars(300, &[("loss", 1.5), ("lr", 0.25)])?;
        let path = std::fs::read_dir(folder.path())?.next().unwrap()?.path();
        let data = std::fs::read(path)?;
        let (mut at, mut records) = (0, 0);
        while at < data.len() {
            let n = u64::from_le_bytes(data[at..at + 8].try_into().unwrap()) as usize;
            assert_eq!(frame(&data[at + 12..at + 12 + n]), data[at..at + 16 + n]);
            at += 16 + n;
            records += 1;
        }
        assert_eq!((at, records), (data.len(), 2));
        Ok(())
    }
}
