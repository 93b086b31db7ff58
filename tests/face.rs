//! What a user of the library brings: a method and a kernel of their own.

use amcl_wgpu::prelude::*;
use amcl_wgpu::train::TrainError;
use std::path::Path;
use std::sync::Arc;

const SIDE: (usize, usize) = (32, 32);

/// Predicts nothing: pulls the features of an image's two views to each other and to length 1.
struct Pull(Arc<dyn Backbone>);

impl Method for Pull {
    fn encoder(&self) -> &dyn Backbone {
        self.0.as_ref()
    }
    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput, GraphError> {
        let encoder = net.part(Part::Encoder, |net| self.0.layers(net));
        let x = encoder.call(net, batch.views[0])?.pooled;
        let y = encoder.call(net, batch.views[1])?.pooled;
        let alike = net.row_dot(x, y)?;
        let ones = net.constant([batch.images], 1.0)?;
        let short = net.sub(alike, ones)?;
        let squares = net.mul(short, short)?;
        Ok(LossOutput::of_loss(net.mean(squares)?))
    }
}

fn config(epochs: usize) -> Config {
    let set = [
        "data.shapes_train=64".to_string(),
        "data.shapes_test=0".into(),
        "model.width=4".into(),
        "optim.batch_size=16".into(),
        format!("run.epochs={epochs}"),
    ];
    Config::parse("", &set).unwrap()
}

fn pull(config: &Config) -> Pull {
    Pull(config.backbone().unwrap())
}

fn train(config: &Config, own: bool, run: &Path, resume: bool) -> Result<Vec<f32>, TrainError> {
    let mut losses = Vec::new();
    let mut trainer = Trainer::new(config.clone());
    if own {
        trainer = trainer.method(Box::new(pull(config)));
    }
    trainer
        .device(Choice::Cpu)
        .out(run)
        .resume(resume)
        .on_event(|event| {
            if let Event::Step(s) = event {
                losses.push(s.loss);
            }
        })
        .run()?;
    Ok(losses)
}

#[test]
fn a_method_that_no_list_names_trains_goes_on_and_gives_its_encoder() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let losses = train(&config(2), true, &run, false).unwrap();
    assert!(
        losses.len() == 8 && losses[7] < 0.9 * losses[0],
        "{losses:?}"
    );
    let more = train(&config(3), true, &run, true).unwrap();
    assert!(more.len() == 4 && more[3] < losses[0], "{more:?}");

    let config = config(3);
    let images = config.open_data(&|_, _| ()).unwrap().train;
    let of = |run: &Path| {
        let method = pull(&config);
        let mut e =
            Encoder::of_method(run, &method, &Choice::Cpu, SIDE, |n| panic!("{n}")).unwrap();
        e.features(&images, &mut |_, _| ()).unwrap()
    };
    // Two devices share the images: an encoder's rows depend on no other's.
    let method = pull(&config);
    let open = || Encoder::of_method(&run, &method, &Choice::Cpu, SIDE, |n| panic!("{n}")).unwrap();
    let mut two = open().beside([open()]);
    let mut last = (0, 0);
    let shared = two.features(&images, &mut |done, all| last = (done, all));
    assert!(shared.unwrap() == of(&run) && last.1 == images.len());
    let squared = |x: &[f32]| x.iter().map(|v| v * v).sum::<f32>();
    let features = of(&run);
    // What the method pulls to 1.
    let mean = squared(&features) / images.len() as f32;
    assert!((0.2..5.0).contains(&mean), "{mean}");

    // The configuration names another method: without this one, neither the run nor its encoder is taken.
    let e = Encoder::open(&run, &Choice::Cpu, SIDE, |_| ())
        .err()
        .unwrap();
    assert!(
        e.to_string().contains("no usable checkpoint") || e.to_string().contains("another model"),
        "{e}"
    );
    assert!(train(&config, false, &run, true).is_err());
}

/// An elementwise op of a text that the caller gives.
#[derive(Debug)]
struct Plus {
    kernel: &'static str,
    text: &'static str,
    added: f64,
}

const ONE: &str = "
#import grid
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> n: vec4<u32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let i = group_index(wid, nwg) * 64u + lid.x;
    if i >= n.x { return; }
    y[i] = x[i] + 1.0;
}";

impl Op for Plus {
    fn name(&self) -> &'static str {
        "plus"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        Ok(vec![inputs[0].clone()])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<(), GraphError> {
        let n = io.outputs[0].elements();
        let kernel = Kernel::new(self.kernel, self.text, "main");
        let views = [&io.inputs[0], &io.outputs[0]];
        Ok(rec.dispatch(&kernel, &[n as u32, 0, 0, 0], &views, n.div_ceil(64))?)
    }
    amcl_wgpu::twin!();
}

impl Plus {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        for (y, x) in io.output(0).iter_mut().zip(x) {
            *y = *x + T::of(self.added);
        }
    }
}

/// A kernel from outside is judged as the library's own; its name is its own.
#[test]
fn kernels_from_outside_are_judged_and_not_mistaken_for_others() {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let harness = Harness::open(&name.parse().unwrap(), Options::default())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"));
    let on = |op: Plus| harness.run(&Case::new(op, vec![Feed::uniform([1000])]));
    let (kernel, text) = ("plus", ONE);
    let good = on(Plus {
        kernel,
        text,
        added: 1.0,
    });
    assert!(good.passed(), "{}", good.fault);
    // The control: a twin that adds something else.
    let wrong = on(Plus {
        kernel,
        text,
        added: 1.001,
    });
    assert!(!wrong.passed());
    // The name of a kernel of the library that is compiled, and one's own with another text.
    let add = amcl_wgpu::ops::scale::Scale { factor: 1.0 };
    assert!(
        harness
            .run(&Case::new(add, vec![Feed::uniform([3])]))
            .passed()
    );
    for kernel in ["scale", "plus"] {
        let text = if kernel == "plus" {
            "// Another.\n@compute @workgroup_size(1) fn main() {}"
        } else {
            ONE
        };
        let refused = on(Plus {
            kernel,
            text,
            added: 1.0,
        });
        let said = refused.fault.contains("another kernel has this name");
        assert!(said, "{kernel}: {}", refused.fault);
    }
}
