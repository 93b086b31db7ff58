//! Do training images lie on the device?

use crate::graph::plan::mebibytes;

/// Why training images of so many bytes are streamed; none where they are to lie on the device. The device's largest
/// buffer has to hold them (2 GiB on many drivers). Its largest binding need not: `gather_rows` walks over the rows.
pub(super) fn streamed(bytes: u64, resident_mib: usize, largest: Option<u64>) -> Option<String> {
    let setting = (resident_mib as u64).saturating_mul(1 << 20);
    let size = mebibytes(bytes as usize);
    if bytes > setting {
        return Some(format!(
            "{size} are more than data.resident_mib, {resident_mib}"
        ));
    }
    let largest = largest.filter(|l| bytes > *l)?;
    Some(format!(
        "{size} are more than the device's largest buffer, {}",
        mebibytes(largest as usize)
    ))
}

/// Why images of so many bytes, which are in memory already, are not also put on a device whose memory is the host's
/// (`shared`), or sent to another one: on their way they are in memory once more. None where that fits what is free.
pub(super) fn crowded(bytes: u64, shared: bool, free: Option<u64>) -> Option<String> {
    let wanted = bytes.saturating_mul(if shared { 2 } else { 1 });
    let free = free.filter(|free| wanted > free / 4 * 3)?;
    Some(format!(
        "a copy of them wants {} for a while, and {} of memory are free",
        mebibytes(wanted as usize),
        mebibytes(free as usize)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_lie_on_the_device_where_setting_and_buffer_hold_them() {
        let (gib, many) = (1u64 << 30, 4096);
        assert_eq!(streamed(2 * gib, many, Some(2 * gib)), None);
        assert_eq!(
            streamed(4 * gib, many, None),
            None,
            "a host has no such limit"
        );
        let why = streamed(2 * gib + 4, many, Some(2 * gib)).unwrap();
        assert!(why.contains("largest buffer, 2048.0 MiB"), "{why}");
        let why = streamed(4 * gib + 4, many, None).unwrap();
        assert!(why.contains("data.resident_mib, 4096"), "{why}");
        assert_eq!(streamed(4 * gib, usize::MAX, None), None, "no wrap");
        // Two thirds of what is free: one copy fits, two do not.
        assert_eq!(crowded(2 * gib, false, Some(3 * gib)), None);
        let why = crowded(2 * gib, true, Some(3 * gib)).unwrap();
        assert!(
            why.contains("wants 4096.0 MiB") && why.contains("3072.0 MiB"),
            "{why}"
        );
        assert_eq!(crowded(gib, true, Some(3 * gib)), None);
        assert_eq!(crowded(u64::MAX, true, None), None, "nothing is known");
    }
}
