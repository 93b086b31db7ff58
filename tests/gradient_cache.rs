//! Gradient caching: micro-batches have the loss and the gradient of the whole batch.

use crate::common;

use amcl_wgpu::config::Config;
use amcl_wgpu::config::method;
use amcl_wgpu::data::{Dataset, shapes};
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, HostData, StepScalars, TensorType};
use amcl_wgpu::methods::loss::LossOutput;
use amcl_wgpu::methods::{Batch, Draws, METHODS, Method};
use amcl_wgpu::nn::model::PARAMS;
use amcl_wgpu::nn::{Backbone, Model, Net, Norm};
use amcl_wgpu::ops::augment::words;
use amcl_wgpu::train::gradient::Gradient;
use amcl_wgpu::train::optimizer::GRADS;
use amcl_wgpu::train::session::IMAGES;
use common::{relative, settings_of};

const BATCH: usize = 8;
const PARTS: usize = 2;

fn config(method: &str, amcl: bool, parts: usize, cache: bool) -> Config {
    let heads = if amcl { 2 } else { 1 };
    let set = [
        "model.width=4".to_string(),
        "model.stem_stride=2".into(),
        "model.image_size=16".into(),
        format!("method.name={method}"),
        // So that a wrong contrast shows beside the other terms.
        "method.w_contrast=1".into(),
        format!("heads.count={heads}"),
        "heads.hidden=8".into(),
        "heads.out=6".into(),
        format!("amcl.enabled={amcl}"),
        "amcl.phi_hidden=8".into(),
        format!("optim.batch_size={BATCH}"),
        format!("optim.micro_batches={parts}"),
        format!("optim.gradient_cache={cache}"),
    ];
    let tiny = [vec!["model.encoder=tiny".to_string()], set.into()].concat();
    Config::parse("", &settings_of(&tiny)).unwrap()
}

/// A method whose batch norm is taken by groups.
struct Grouped(Box<dyn Method>, Norm);

impl Method for Grouped {
    fn encoder(&self) -> &dyn Backbone {
        self.0.encoder()
    }
    fn draws(&self) -> Draws {
        self.0.draws()
    }
    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> amcl_wgpu::graph::Result<LossOutput> {
        net.with_norm(self.1, |net| self.0.build(net, batch))
    }
}

/// Loss and gradient of all parameters, of the samples `ids` under weights drawn from the seed.
fn gradient(
    c: &Config,
    exec: &mut dyn Executor,
    data: &Dataset,
    ids: &[u32],
    norm: Norm,
    resident: bool,
) -> (f64, Vec<f64>) {
    let mut m = Model::default();
    let image_words = words(data.height, data.width);
    let images = resident.then(|| {
        let ty = TensorType::u32([data.len(), image_words]);
        m.states.add(IMAGES, "images", ty)
    });
    let mut method = method::method(c).unwrap();
    if norm != Norm::default() {
        method = Box::new(Grouped(method, norm));
    }
    let side = (data.height, data.width);
    let mut g = Gradient::new(c, method.as_ref(), &mut m, side, images).unwrap();
    let grads = m.states.mirror(PARAMS, GRADS);
    g.collect(&m).unwrap();
    exec.allocate_states(&m.states).unwrap();
    let g = g.compile(exec).unwrap();
    m.initialise(exec, 9).unwrap();
    if let Some(id) = images {
        let all: Vec<u32> = (0..data.len() as u32).collect();
        let words = amcl_wgpu::data::packed::pack(data, &all).unwrap().words;
        exec.write_state(&m.states, id, &HostData::U32(words))
            .unwrap();
    }
    // A later step, so that the places in the kept embeddings are seen not to depend on it.
    let scalars = StepScalars {
        step: 3,
        ..StepScalars::default()
    };
    let started = g.start(exec, c, (data, ids), &scalars).unwrap();
    let (loss, terms) = started.collect(exec).unwrap();
    assert_eq!(terms.len(), g.terms.len());
    let values = exec.read_state(&m.states, grads).unwrap().to_f64();
    (loss, values)
}

/// Against one graph of the whole batch whose batch norm has the micro-batches' groups: every second sample. The
/// losses do not ask for the order of the samples (so Barlow Twins comes without AMCL, whose temperatures do), and
/// the micro-batches are the even and the odd ones.
#[test]
fn equals_the_whole_batch() {
    let data = shapes::generate(3, BATCH, 4).train;
    let groups = Norm {
        groups: PARTS,
        interleaved: true,
        ..Norm::default()
    };
    let ids: Vec<u32> = (0..BATCH as u32).collect();
    let (even, odd): (Vec<u32>, Vec<u32>) = ids.iter().partition(|i| **i % 2 == 0);
    let apart = [even, odd].concat();
    let f64s = || Box::new(HostExecutor::<f64>::new()) as Box<dyn Executor>;
    let f32s = || Box::new(HostExecutor::<f32>::new()) as Box<dyn Executor>;
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let gpu = || {
        let device = Device::open(&choice, Options::default())
            .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"));
        Box::new(GpuExecutor::new(device)) as Box<dyn Executor>
    };
    // Every method that has the split, as it stands in the list.
    let plain = METHODS.iter().filter(|m| m.couples_batch);
    let plain: Vec<_> = plain.map(|m| (m.name, false)).collect();
    assert!(plain.len() >= 3, "{plain:?}");
    for (method, amcl) in [vec![("simclr", true), ("can", true)], plain].concat() {
        let c = config(method, amcl, 1, true);
        let whole = gradient(&c, f64s().as_mut(), &data, &ids, groups, true);
        // In f64 only the order of sums differs: some 1e4 of them, 1e-16 each. In f32, the same times 5e8, and batch
        // norm over few pixels makes it tenfold.
        for (mut exec, bound, resident) in [
            (f64s(), 1e-11, true),
            (f64s(), 1e-11, false),
            (f32s(), 1e-3, true),
            (gpu(), 1e-3, true),
        ] {
            let c = config(method, amcl, PARTS, true);
            let plain = Norm::default();
            let cached = gradient(&c, exec.as_mut(), &data, &apart, plain, resident);
            let name = format!("{method} {}", exec.name());
            let e = (cached.0 - whole.0).abs() / whole.0.abs();
            assert!(e < bound, "{name}: loss {} {}", cached.0, whole.0);
            let e = relative(&cached.1, &whole.1);
            assert!(e < bound, "{name}: gradient off by {e}");
        }
        // The control: losses of the micro-batches' own are another loss, by more than three times the largest bound.
        let c = config(method, amcl, PARTS, false);
        let own = gradient(&c, f64s().as_mut(), &data, &apart, Norm::default(), true);
        let (loss, e) = ((own.0 - whole.0).abs(), relative(&own.1, &whole.1));
        assert!(
            loss > 3e-3 * whole.0.abs() && e > 0.05,
            "{method}: {loss} {e}"
        );
    }
}

/// The loss sees as many samples as the batch has, whatever the micro-batches: Barlow Twins' temperature MLP takes
/// vectors of that length, and training and evaluation declare the same states.
#[test]
fn states_are_those_of_the_whole_batch() {
    let count = |c: &Config| method::declare(c).unwrap().sizes();
    let of = |parts, cache| count(&config("barlow_twins", true, parts, cache));
    assert_eq!(of(PARTS, true), of(1, true));
    assert!(of(PARTS, false).1 < of(1, true).1);
}
