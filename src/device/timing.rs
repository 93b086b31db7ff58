//! GPU timestamps: one compute pass a dispatch, a pair of queries a pass.

use super::{Device, DeviceError};

/// Timestamp queries of one profiled submission.
pub(crate) struct Timer {
    set: wgpu::QuerySet,
    resolve: wgpu::Buffer,
    count: u32,
}

/// wgpu's limit on queries in a set.
pub(crate) const MAX_PAIRS: usize = 2048;

impl Timer {
    /// Room for `pairs` passes (at most [`MAX_PAIRS`]).
    pub(crate) fn new(device: &Device, pairs: usize) -> Self {
        let count = 2 * pairs.clamp(1, MAX_PAIRS) as u32;
        Self {
            set: device.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count,
            }),
            resolve: device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: u64::from(count) * 8,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            count,
        }
    }

    /// The writes of pass `i`.
    pub(crate) fn writes(&self, i: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(2 * i as u32),
            end_of_pass_write_index: Some(2 * i as u32 + 1),
        }
    }

    /// Resolves into a readable buffer; call before finishing the encoder.
    pub(crate) fn resolve(&self, enc: &mut wgpu::CommandEncoder) {
        enc.resolve_query_set(&self.set, 0..self.count, &self.resolve, 0);
    }

    /// Start and duration of each pass in seconds, start counted from the first.
    pub(crate) fn read(&self, device: &Device) -> Result<Vec<(f64, f64)>, DeviceError> {
        let raw = device.read(&self.resolve, 0, u64::from(self.count) * 8, "timestamps")?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&raw);
        let period = f64::from(device.queue.get_timestamp_period()) * 1e-9;
        let first = ticks.first().copied().unwrap_or(0);
        Ok(ticks
            .chunks_exact(2)
            .map(|t| {
                (
                    t[0].wrapping_sub(first) as f64 * period,
                    t[1].saturating_sub(t[0]) as f64 * period,
                )
            })
            .collect())
    }
}
