//! Read-backs that do not wait: copies into staging buffers, mapped when their submission is done.

use super::decode;
use crate::device::recording::View;
use crate::device::{Device, DeviceError};
use crate::graph::exec::{HostData, Ticket};
use crate::graph::{DType, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

struct Pending {
    staging: wgpu::Buffer,
    /// Offset, elements, type.
    parts: Vec<(u64, usize, DType)>,
    bytes: u64,
    /// 0 waiting, 1 mapped, 2 failed.
    ready: Arc<AtomicU8>,
    submission: wgpu::SubmissionIndex,
}

/// Read-backs under way, and staging buffers that wait for the next.
#[derive(Default)]
pub(super) struct Readback {
    pending: HashMap<u64, Pending>,
    spare: Vec<(u64, wgpu::Buffer)>,
    next: u64,
}

impl Readback {
    /// Starts copying views, as they are when the work submitted so far is done.
    pub(super) fn start(
        &mut self,
        device: &Device,
        views: &[(wgpu::Buffer, View, DType)],
    ) -> Ticket {
        let (mut parts, mut bytes) = (Vec::new(), 0);
        for (_, v, dtype) in views {
            parts.push((bytes, v.elements(), *dtype));
            bytes += (v.bytes() as u64).div_ceil(8) * 8;
        }
        let spare = self.spare.iter().position(|s| s.0 == bytes);
        let staging = match spare {
            Some(i) => self.spare.swap_remove(i).1,
            None => device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read-back"),
                size: bytes.max(8),
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            }),
        };
        let mut enc = device
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor {
                label: Some("read-back"),
            });
        for ((buffer, v, _), (at, _, _)) in views.iter().zip(&parts) {
            enc.copy_buffer_to_buffer(buffer, v.offset, &staging, *at, v.bytes() as u64);
        }
        let submission = device.queue.submit([enc.finish()]);
        let ready = Arc::new(AtomicU8::new(0));
        let flag = ready.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |r| {
            flag.store(if r.is_ok() { 1 } else { 2 }, Ordering::Release);
        });
        self.next += 1;
        let pending = Pending {
            staging,
            parts,
            bytes,
            ready,
            submission,
        };
        self.pending.insert(self.next, pending);
        Ticket(self.next)
    }

    /// The data of a ticket; `None` while it is not there, unless `wait`.
    pub(super) fn collect(
        &mut self,
        device: &Device,
        ticket: &Ticket,
        wait: bool,
    ) -> Result<Option<Vec<HostData>>> {
        let Some(p) = self.pending.get(&ticket.0) else {
            return Ok(None);
        };
        if p.ready.load(Ordering::Acquire) == 0 {
            if wait {
                device.wait_for(Some(p.submission.clone()), "reading back")?;
            } else {
                let _ = device.device.poll(wgpu::PollType::Poll);
                device.check("reading back")?;
            }
        }
        match p.ready.load(Ordering::Acquire) {
            0 => return Ok(None),
            1 => {}
            _ => {
                return Err(DeviceError::Lost {
                    during: "reading back".into(),
                    reason: "the buffer could not be mapped".into(),
                }
                .into());
            }
        }
        let Some(p) = self.pending.remove(&ticket.0) else {
            return Ok(None);
        };
        let raw = p
            .staging
            .get_mapped_range(..)
            .map_err(|e| DeviceError::Lost {
                during: "reading back".into(),
                reason: e.to_string(),
            })?;
        let out = p
            .parts
            .iter()
            .map(|(at, n, dtype)| decode(&raw[*at as usize..], *n, *dtype))
            .collect();
        drop(raw);
        p.staging.unmap();
        self.spare.push((p.bytes, p.staging));
        Ok(Some(out))
    }
}
