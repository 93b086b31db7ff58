//! Losses of embeddings and their gradients against the formulas written out in f64 (`common/plain.rs`), where no
//! fixture of PyTorch's reaches: the centred parametrisation, channels of unit length, the first head's temperatures,
//! Barlow Twins' roles, BYOL. Gradients against central differences of the written formula.
//!
//! Bounds. The loss: sums of some 1e3 terms in f64, 1e-10 at most. The gradient: steps of 1e-5 leave a relative error
//! of h^2 f'''/6f', with f'''/f' up to 1/tau^2 = 400, of 1e-8, and cancellation 1e-16 f/h of 1e-10; 1e-6 for some 100
//! entries with small ones among them. Every case has a control: the formula with the switch the other way is off by
//! a hundred times as much and more.

use crate::common;

use amcl_wgpu::config::{Config, method};
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, StepScalars, TensorId, TensorType};
use amcl_wgpu::methods::byol::Byol;
use amcl_wgpu::methods::loss::mocov3::{amcl_mocov3, mocov3};
use amcl_wgpu::methods::loss::{
    Adaptive, Amcl, Parametrisation, Plain, Scorer, contrastive, simsiam,
};
use amcl_wgpu::nn::heads::Mlp;
use amcl_wgpu::nn::heads::Phi;
use amcl_wgpu::nn::model::{MOMENTUM_COPY, PARAMS};
use amcl_wgpu::nn::{Mode, Model, Net};
use amcl_wgpu::ops;
use common::plain::{
    BATCH_NORM, Temperatures, UNBIASED, heads as split, info_nce, mean_cosine, mlp, rows,
};
use common::{B, Run, net, normal, relative, view};
use std::collections::BTreeMap;

/// Heads, images, channels, keys of a queue, phi's width.
const C: usize = 2;
const N: usize = 6;
const D: usize = 4;
const K: usize = 5;
const H: usize = 5;

/// What a loss depends on.
#[derive(Clone)]
struct Numbers {
    inputs: Vec<Vec<f64>>,
    params: BTreeMap<String, Vec<f64>>,
}

impl Numbers {
    fn temperatures<'a>(&'a self, a: &'a Amcl) -> Temperatures<'a> {
        let layer = |name: &str| &self.params[&format!("phi.{name}")][..];
        Temperatures {
            a,
            phi: ["0.weight", "0.bias", "2.weight", "2.bias"].map(layer),
            gain: self.params.get("phi.gain").map_or(1.0, |g| g[0]),
        }
    }
}

/// A loss as a graph of inputs of these shapes, of which the first `differentiated` are no constants.
struct Loss<'a> {
    dims: &'a [[usize; 3]],
    differentiated: usize,
    build: &'a dyn Fn(&mut Net<'_>, &[TensorId]) -> TensorId,
}

/// A loss's numbers, value and gradient: by input, then by parameter.
struct Evaluated {
    at: Numbers,
    differentiated: usize,
    loss: f64,
    gradient: Vec<f64>,
}

impl Loss<'_> {
    fn evaluate(&self) -> Evaluated {
        let (mut g, mut m) = (Graph::new(), Model::default());
        let inputs: Vec<TensorId> = self
            .dims
            .iter()
            .map(|d| g.input("x", TensorType::f32(*d)))
            .collect();
        let loss = (self.build)(&mut Net::new(&mut g, &mut m, Mode::Train), &inputs);
        let mut params: Vec<_> = m.params.iter().map(|p| (p.name.clone(), p.id)).collect();
        // As the map has them.
        params.sort();
        let mut wrt = inputs[..self.differentiated].to_vec();
        wrt.extend(params.iter().map(|p| g.state(&m.states, p.1)));
        let grads = ops::backward(&mut g, loss, &wrt).unwrap();
        let grads: Vec<TensorId> = grads.into_iter().map(Option::unwrap).collect();
        let mut exec = HostExecutor::<f64>::new();
        exec.allocate_states(&m.states).unwrap();
        let program = exec.compile(&g, &[&[loss], &grads[..]].concat()).unwrap();
        let mut at = Numbers {
            inputs: Vec::new(),
            params: BTreeMap::new(),
        };
        for (i, (t, d)) in inputs.iter().zip(self.dims).enumerate() {
            let x = normal(d.iter().product(), 20 + i as u64);
            exec.upload(program, *t, &HostData::F64(x.clone())).unwrap();
            at.inputs.push(x);
        }
        for (i, (name, id)) in params.iter().enumerate() {
            let n = m.states.entry(*id).ty.elements();
            let mut v: Vec<f64> = normal(n, 40 + i as u64).iter().map(|v| 0.5 * v).collect();
            if name == "phi.gain" {
                v = vec![1.3];
            }
            exec.write_state(&m.states, *id, &HostData::F64(v.clone()))
                .unwrap();
            at.params.insert(name.clone(), v);
        }
        exec.run(program, &StepScalars::default()).unwrap();
        let mut of = |t: &TensorId| exec.fetch(program, *t).unwrap().to_f64();
        Evaluated {
            loss: of(&loss)[0],
            gradient: grads.iter().flat_map(of).collect(),
            differentiated: self.differentiated,
            at,
        }
    }
}

impl Evaluated {
    /// Relative errors of loss and gradient against a formula and its central differences.
    fn errors(&self, formula: &dyn Fn(&Numbers) -> f64) -> [f64; 2] {
        let want = formula(&self.at);
        const STEP: f64 = 1e-5;
        let mut slopes = Vec::new();
        let mut slope = |place: &dyn Fn(&mut Numbers) -> &mut f64| {
            let side = |by: f64| {
                let mut at = self.at.clone();
                *place(&mut at) += by;
                formula(&at)
            };
            slopes.push((side(STEP) - side(-STEP)) / (2.0 * STEP));
        };
        for i in 0..self.differentiated {
            for j in 0..self.at.inputs[i].len() {
                slope(&|at| &mut at.inputs[i][j]);
            }
        }
        for (name, values) in &self.at.params {
            for j in 0..values.len() {
                slope(&|at| &mut at.params.get_mut(name).unwrap()[j]);
            }
        }
        [
            (self.loss - want).abs() / want.abs(),
            relative(&self.gradient, &slopes),
        ]
    }

    /// The loss is the formula's; with another it is not.
    fn is(&self, name: &str, formula: &dyn Fn(&Numbers) -> f64, other: &dyn Fn(&Numbers) -> f64) {
        let [loss, gradient] = self.errors(formula);
        assert!(loss < 1e-10, "{name}: loss off by {loss}");
        assert!(gradient < 1e-6, "{name}: gradient off by {gradient}");
        let control = self.errors(other);
        assert!(
            control[0] > 1e-6 && control[1] > 1e-4,
            "{name}: {control:?}"
        );
    }
}

/// What is checked of every loss: both adaptive parametrisations, temperatures of the first head.
fn forms() -> Vec<Amcl> {
    let a = Amcl {
        phi_hidden: H,
        tau0: 0.4,
        ..Amcl::default()
    };
    let (dot, centred) = (Parametrisation::Dot, Parametrisation::Centred);
    [
        (dot, Adaptive::Full),
        (centred, Adaptive::Full),
        (dot, Adaptive::FirstHead),
        (centred, Adaptive::FirstHead),
    ]
    .map(|(parametrisation, adaptive)| Amcl {
        parametrisation,
        adaptive,
        ..a
    })
    .to_vec()
}

/// The form with the first head's temperatures instead of each head's, or the reverse; and with the other
/// parametrisation.
fn controls(a: &Amcl) -> [Amcl; 2] {
    let adaptive = match a.adaptive {
        Adaptive::FirstHead => Adaptive::Full,
        _ => Adaptive::FirstHead,
    };
    let parametrisation = match a.parametrisation {
        Parametrisation::Dot => Parametrisation::Centred,
        Parametrisation::Centred => Parametrisation::Dot,
    };
    [
        Amcl { adaptive, ..*a },
        Amcl {
            parametrisation,
            ..*a
        },
    ]
}

/// A configuration's method with these embeddings: what `[amcl]` and `[method]` say goes through `config::method`.
fn of_config(a: &Amcl, set: &[&str]) -> Box<dyn amcl_wgpu::methods::Method> {
    let mut c =
        Config::parse("", &set.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    (c.amcl.enabled, c.amcl.switches, c.heads.count) = (true, *a, C);
    method::method(&c).unwrap()
}

#[test]
fn simclr_with_amcl() {
    for a in forms() {
        let method = of_config(&a, &["method.name=simclr"]);
        let loss = Loss {
            dims: &[[C, N, D]],
            differentiated: 1,
            build: &|net, x| method.split().unwrap().loss(net, x).unwrap().loss,
        };
        let formula =
            |a: Amcl| move |at: &Numbers| at.temperatures(&a).nt_xent(&split(&at.inputs[0], N, D));
        let got = loss.evaluate();
        for other in controls(&a) {
            got.is(&format!("{a:?}"), &formula(a), &formula(other));
        }
    }
}

/// The scorer of a loss that is built from embeddings alone.
fn scored(
    net: &mut Net<'_>,
    a: &Amcl,
    loss: impl FnOnce(&mut Graph, Scorer<'_>) -> TensorId,
) -> TensorId {
    let centred = a.parametrisation == Parametrisation::Centred;
    let values = Phi::new(net, D, a.phi_hidden, centred).values(net);
    let mut phi = |g: &mut Graph, z| values.call(g, z);
    let scorer = Scorer {
        phi: &mut phi,
        gain: values.gain,
    };
    loss(net, scorer)
}

/// Keys and queue are constants; phi has gradients through them.
#[test]
fn moco_with_amcl() {
    for a in forms() {
        let loss = Loss {
            dims: &[[C, N, D], [C, N, D], [C, K, D]],
            differentiated: 1,
            build: &|net, x| {
                scored(net, &a, |g, s| {
                    contrastive::amcl_moco(g, x[0], x[1], x[2], &a, s)
                        .unwrap()
                        .loss
                })
            },
        };
        let formula = |a: Amcl| {
            move |at: &Numbers| {
                let [q, k, queue] =
                    [(0, N), (1, N), (2, K)].map(|(i, n)| split(&at.inputs[i], n, D));
                at.temperatures(&a).moco(&q, &k, &queue)
            }
        };
        let got = loss.evaluate();
        for other in controls(&a) {
            got.is(&format!("{a:?}"), &formula(a), &formula(other));
        }
    }
}

/// Both directions, keys of the other view; keys are constants, and phi has gradients through them. The control
/// besides other temperatures: keys of the query's own view.
#[test]
fn mocov3_with_amcl() {
    const SCALE: f64 = 0.7;
    let four = |at: &Numbers| [0, 1, 2, 3].map(|i| split(&at.inputs[i], N, D));
    let formula = |a: Amcl, swapped: bool| {
        move |at: &Numbers| {
            let [q1, q2, k1, k2] = four(at);
            let (k1, k2) = if swapped { (k2, k1) } else { (k1, k2) };
            let t = at.temperatures(&a);
            SCALE * (t.keys(&q1, &k2) + t.keys(&q2, &k1))
        }
    };
    for a in forms() {
        let loss = Loss {
            dims: &[[C, N, D]; 4],
            differentiated: 2,
            build: &|net, x| {
                scored(net, &a, |g, s| {
                    amcl_mocov3(g, [x[0], x[1]], [x[2], x[3]], &a, SCALE, s)
                        .unwrap()
                        .loss
                })
            },
        };
        let got = loss.evaluate();
        for other in controls(&a) {
            got.is(
                &format!("{a:?}"),
                &formula(a, false),
                &formula(other, false),
            );
        }
        got.is(&format!("{a:?}"), &formula(a, false), &formula(a, true));
    }
}

/// 2 tau (CE + CE) of cosines, the keys of the batch for classes; the control is another temperature.
#[test]
fn mocov3_at_one_temperature() {
    let loss = Loss {
        dims: &[[1, N, D]; 4],
        differentiated: 2,
        build: &|net, x| {
            let t = Plain::constant(0.2);
            mocov3(net, [x[0], x[1]], [x[2], x[3]], &t).unwrap().loss
        },
    };
    let formula = |tau: f64| {
        move |at: &Numbers| {
            let [q1, q2, k1, k2] = [0, 1, 2, 3].map(|i| rows(&at.inputs[i], D));
            let one = |q: &[Vec<f64>], k: &[Vec<f64>]| {
                let each = (0..N).map(|i| {
                    let others = [&k[..i], &k[i + 1..]].concat();
                    info_nce(&q[i..=i], &k[i..=i], &others, tau)
                });
                each.sum::<f64>() / N as f64
            };
            2.0 * tau * (one(&q1, &k2) + one(&q2, &k1))
        }
    };
    loss.evaluate().is("mocov3", &formula(0.2), &formula(0.25));
}

/// Eq. (2.2): both directions, targets constants also inside the temperature.
#[test]
fn simsiam_with_amcl() {
    for a in forms() {
        let loss = Loss {
            dims: &[[C, N, D]; 4],
            differentiated: 2,
            build: &|net, x| {
                scored(net, &a, |g, s| {
                    simsiam::amcl_simsiam(g, (x[0], x[2]), (x[1], x[3]), &a, s)
                        .unwrap()
                        .loss
                })
            },
        };
        let formula = |a: Amcl| {
            move |at: &Numbers| {
                let [p1, p2, z1, z2] = [0, 1, 2, 3].map(|i| split(&at.inputs[i], N, D));
                let t = at.temperatures(&a);
                t.simsiam(&p1, &z2) + t.simsiam(&p2, &z1)
            }
        };
        let got = loss.evaluate();
        for other in controls(&a) {
            got.is(&format!("{a:?}"), &formula(a), &formula(other));
        }
    }
}

const LAMBDA: f64 = 0.3;
const CONSTANT: [f64; 2] = [0.7, 1.6];

/// Values of `method.standardize`, and what they mean.
const STANDARDS: [(&str, [f64; 2]); 2] = [
    ("method.standardize=unbiased", UNBIASED),
    ("method.standardize=batch_norm", BATCH_NORM),
];

fn name_of(standard: [f64; 2]) -> &'static str {
    STANDARDS.iter().find(|s| s.1 == standard).unwrap().0
}

/// Barlow Twins through its method: the forms, each with one deviation and the other, with channels of unit length (the
/// default) and raw ones, and every role by itself.
#[test]
fn barlow_twins_with_amcl() {
    let mut all = forms();
    for adaptive in [Adaptive::PositiveOnly, Adaptive::NegativeOnly] {
        all.push(Amcl { adaptive, ..all[0] });
    }
    let mut kinds: Vec<(Amcl, bool, [f64; 2])> = Vec::new();
    for (i, a) in all.into_iter().enumerate() {
        kinds.extend([true, false].map(|unit| (a, unit, STANDARDS[(i + usize::from(unit)) % 2].1)));
    }
    for (a, unit, standard) in kinds {
        let set = [
            name_of(standard),
            "method.name=barlow_twins",
            "method.lambda=0.3",
            "method.tau_diagonal=0.7",
            "method.tau_off_diagonal=1.6",
            "method.unit_channels=false",
        ];
        // Channels of unit length are what is said by saying nothing.
        let method = of_config(&a, if unit { &set[..5] } else { &set });
        let loss = Loss {
            dims: &[[C, N, D]; 2],
            differentiated: 2,
            build: &|net, x| method.split().unwrap().loss(net, x).unwrap().loss,
        };
        let with = |a: Amcl, constant: [f64; 2], unit: bool, standard: [f64; 2]| {
            move |at: &Numbers| {
                let [z1, z2] = [0, 1].map(|i| split(&at.inputs[i], N, D));
                at.temperatures(&a)
                    .barlow([&z1, &z2], LAMBDA, constant, unit, standard)
            }
        };
        let formula = |a, constant, unit| with(a, constant, unit, standard);
        let got = loss.evaluate();
        let name = format!("{a:?} unit {unit} standard {standard:?}");
        let right = formula(a, CONSTANT, unit);
        for other in controls(&a) {
            got.is(&name, &right, &formula(other, CONSTANT, unit));
        }
        // The other kind of channels; every constant, where it is one.
        got.is(&name, &right, &formula(a, CONSTANT, !unit));
        // The other deviation.
        let other = STANDARDS.map(|s| s.1).into_iter().find(|s| *s != standard);
        got.is(&name, &right, &with(a, CONSTANT, unit, other.unwrap()));
        let role = match a.adaptive {
            Adaptive::PositiveOnly => 1,
            Adaptive::NegativeOnly => 0,
            _ => continue,
        };
        let mut one = CONSTANT;
        one[role] = 1.0;
        got.is(&name, &right, &formula(a, one, unit));
        // And only there: the other constant reaches nothing.
        let mut unused = CONSTANT;
        unused[1 - role] = 9.0;
        assert!(got.errors(&formula(a, unused, unit))[0] < 1e-10);
    }
}

/// Constant heads: both temperatures of the configuration reach the loss.
#[test]
fn barlow_twins_of_constant_temperatures() {
    let a = Amcl {
        adaptive: Adaptive::None,
        ..Amcl::default()
    };
    let set = [
        "method.name=barlow_twins",
        "method.lambda=0.3",
        "method.tau_diagonal=0.7",
        "method.tau_off_diagonal=1.6",
        "method.standardize=batch_norm",
    ];
    let method = of_config(&a, &set);
    let got = Loss {
        dims: &[[C, N, D]; 2],
        differentiated: 2,
        build: &|net, x| method.split().unwrap().loss(net, x).unwrap().loss,
    }
    .evaluate();
    assert!(got.at.params.is_empty());
    let formula = |constant: [f64; 2]| {
        move |at: &Numbers| {
            let mut loss = 0.0;
            for c in 0..C {
                let [x, y] = [0, 1].map(|i| split(&at.inputs[i], N, D)[c].clone());
                let k = common::plain::correlation(&x, &y, BATCH_NORM);
                for (l, m) in (0..D * D).map(|i| (i / D, i % D)) {
                    loss += match l == m {
                        true => (1.0 - k[l][l] / constant[0]).powi(2),
                        false => LAMBDA * k[l][m].powi(2) / constant[1],
                    };
                }
            }
            loss
        }
    };
    for other in [[1.0, 1.6], [0.7, 1.0]] {
        got.is("constant", &formula(CONSTANT), &formula(other));
    }
}

/// BYOL from the encoders' features on: 2 - 2 cos in both directions, heads written out, targets by the momentum
/// branch's parameters. The gradient of one entry of every parameter (its largest) by central differences: targets
/// are constants of themselves, since the branch stays where it is. Steps of 1e-6: truncation 1e-12 f'''/f',
/// cancellation 1e-10 f/f'; 1e-5 of the largest entry of all.
#[test]
fn byol() {
    let head = |hidden| Mlp {
        norm: true,
        ..Mlp::plain(1, hidden, 6)
    };
    let method = Byol {
        encoder: net(),
        projector: head(8),
        predictor: head(5),
        momentum: [0.99, -1.0],
    };
    let mut run = Run::new(&method, B);
    run.shake(MOMENTUM_COPY, 9);
    let views = [view(B, 5, 0), view(B, 5, 1)];
    let all: Vec<usize> = (0..B).collect();
    let (keys, width) = (run.named(MOMENTUM_COPY), 8);
    let targets = [0, 1].map(|i| {
        let f = run.features(&views[i], &all, true);
        mlp(&keys, "head", (0, 1), "plain", &rows(&f, width))
    });
    let loss = |run: &mut Run, of: [usize; 2]| {
        let p = run.named(PARAMS);
        let predictions = [0, 1].map(|i| {
            let f = run.features(&views[i], &all, false);
            let z = mlp(&p, "head", (0, 1), "plain", &rows(&f, width));
            mlp(&p, "predictor", (0, 1), "plain", &z)
        });
        let one = |i: usize| 2.0 - 2.0 * mean_cosine(&predictions[i], &targets[of[i]]);
        one(0) + one(1)
    };
    let seen = run.on([&views[0], &views[1]]);
    let want = loss(&mut run, [1, 0]);
    assert!(
        (seen.loss - want).abs() < 1e-10 * want,
        "{} {want}",
        seen.loss
    );
    // The control: each view's own target.
    assert!((seen.loss - loss(&mut run, [0, 1])).abs() > 1e-3);
    assert_eq!(seen.keys[0].len(), B * 6);
    let e = relative(&seen.keys[0], &targets[0].concat());
    assert!(e < 1e-10, "{e}");

    let largest = |v: &[f64]| v.iter().fold(0f64, |m, v| m.max(v.abs()));
    let top = largest(&seen.grads.concat());
    let params: Vec<_> = run
        .b
        .m
        .params
        .iter()
        .map(|p| (p.name.clone(), p.id))
        .collect();
    for ((name, id), gradient) in params.iter().zip(&seen.grads) {
        let most = largest(gradient);
        let at = gradient.iter().position(|v| v.abs() == most).unwrap();
        let values = common::read(&mut run.exec, &run.b.m, *id);
        let mut side = |by: f64| {
            let mut moved = values.clone();
            moved[at] += by;
            let write = |run: &mut Run, v: Vec<f64>| {
                let (exec, states) = (&mut run.exec, &run.b.m.states);
                exec.write_state(states, *id, &HostData::F64(v)).unwrap();
            };
            write(&mut run, moved);
            let l = loss(&mut run, [1, 0]);
            write(&mut run, values.clone());
            l
        };
        let slope = (side(1e-6) - side(-1e-6)) / 2e-6;
        let e = (slope - gradient[at]).abs();
        assert!(e < 1e-5 * top, "{name}: {slope} {}", gradient[at]);
    }
    assert!(top > 1e-2, "there is a gradient: {top}");
}
