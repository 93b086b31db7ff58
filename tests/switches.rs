//! Settings that change what is computed, from the configuration to the loss: each against the loss written out
//! (`common/plain.rs`) or an identity, so that one that does nothing fails; those that mean nothing are refused; what
//! a method needs and nobody sets is the method's.

use crate::common;

use amcl_wgpu::config::presets::PRESETS;
use amcl_wgpu::config::{Config, method};
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::methods::loss::Parametrisation;
use amcl_wgpu::methods::loss::evaluate::LossError;
use amcl_wgpu::methods::loss_file::LossFile;
use amcl_wgpu::nn::backbones::family;
use amcl_wgpu::nn::heads::Last;
use amcl_wgpu::nn::model::PARAMS;
use common::plain::{Row, Temperatures, UNBIASED, heads, info_nce, mean_cosine, mlp, rows};
use common::{B, Run, relative, settings_of, view};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::collections::HashMap;

/// A small network and a method of these settings.
fn config(set: &[&str]) -> Config {
    let small = [
        "model.width=4",
        "model.image_size=8",
        "heads.hidden=8",
        "heads.out=6",
        "method.predictor_hidden=5",
        "method.queue=20",
        "amcl.phi_hidden=7",
        "optim.batch_size=4",
    ];
    Config::parse("", &settings_of(&[&small[..], set].concat())).unwrap()
}

fn run(set: &[&str]) -> Run {
    let config = config(set);
    let method = method::method(&config).unwrap();
    let mut run = Run::of(method.as_ref(), config.backbone().unwrap(), B);
    // Scales of batch norm that are not 1, so that it matters whether there are any.
    run.shake(PARAMS, 9);
    run
}

/// f64: the same graph twice and a sum of two, so 1e-12.
#[test]
fn the_symmetric_loss_is_the_mean_of_both_directions() {
    let views = [view(B, 5, 0), view(B, 5, 1)];
    let [first, second] = [[&views[0][..], &views[1]], [&views[1][..], &views[0]]];
    for amcl in [&["amcl.enabled=true", "heads.count=2"][..], &[]] {
        let moco = ["method.name=moco", "method.bn_splits=2"];
        let one = [&moco[..], amcl, &["method.symmetric=false"]].concat();
        let (mut both, mut one) = (run(&[&moco[..], amcl].concat()), run(&one));
        let all = both.on(first);
        let parts = [first, second].map(|views| one.on(views));
        let mean = (parts[0].loss + parts[1].loss) / 2.0;
        assert!(
            (all.loss - mean).abs() < 1e-12 * mean.abs(),
            "{} {mean}",
            all.loss
        );
        let sides = parts.each_ref().map(|p| p.grads.concat());
        let sum = sides[0].iter().zip(&sides[1]);
        let mean: Row = sum.map(|(a, b)| (a + b) / 2.0).collect();
        let e = relative(&all.grads.concat(), &mean);
        assert!(e < 1e-12, "gradient: {e}");
        // Each direction has keys to enqueue of its own.
        assert_eq!([all.keys.len(), parts[0].keys.len()], [2, 1]);
        assert_eq!(all.keys, [&parts[0].keys[..], &parts[1].keys].concat());
        // The control: one direction is not the other, nor the mean.
        assert!((parts[0].loss - parts[1].loss).abs() > 1e-4);
        assert!(relative(&sides[0], &mean[..]) > 1e-2);
    }
}

/// One direction is InfoNCE of the first view's queries, from the features on, at the temperature that is set.
#[test]
fn one_direction_is_info_nce_of_the_first_views_queries() {
    let set = [
        "method.name=moco",
        "method.bn_splits=1",
        "method.symmetric=false",
        "loss.temperature=0.3",
    ];
    let mut run = run(&set);
    let views = [view(B, 5, 0), view(B, 5, 1)];
    let seen = run.on([&views[0], &views[1]]);
    let (all, p) = ([0, 1, 2, 3], run.named(PARAMS));
    let queue = rows(&run.queue.as_ref().unwrap().1.clone(), 6);
    let keys = rows(&seen.keys[0], 6);
    let mut of = |view: &[f64], tau: f64| {
        let f = run.features(view, &all, false);
        let embed = |f: &[f64]| {
            use common::plain::linear;
            let hidden = linear(f, &p["head.0.weight"], Some(&p["head.0.bias"]));
            let hidden: Row = hidden.iter().map(|v| v.max(0.0)).collect();
            linear(&hidden, &p["head.2.weight"], Some(&p["head.2.bias"]))
        };
        let q: Vec<Row> = rows(&f, f.len() / B).iter().map(|f| embed(f)).collect();
        info_nce(&q, &keys, &queue, tau)
    };
    // f64, some hundred terms, and the eps of batch norm as an f32.
    let want = of(&views[0], 0.3);
    assert!(
        (seen.loss - want).abs() < 1e-10 * want,
        "{} {want}",
        seen.loss
    );
    // The controls: the other view's queries, another temperature.
    for other in [of(&views[1], 0.3), of(&views[0], 0.2)] {
        assert!((seen.loss - other).abs() > 1e-3 * want, "{other}");
    }
}

/// SimSiam from the features on, heads written out: one projector for all heads or one each, whatever its last layer,
/// constant and adaptive temperatures.
#[test]
fn simsiams_heads_and_targets_are_as_set() {
    for (last, shared, adaptive) in ["plain", "norm", "bare_norm"]
        .into_iter()
        .flat_map(|l| [(l, true), (l, false)])
        .flat_map(|(l, s)| [(l, s, "none"), (l, s, "full")])
    {
        let name = format!("{last} {shared} {adaptive}");
        let set = [
            "method.name=simsiam".to_string(),
            "amcl.enabled=true".into(),
            "amcl.tau_const=0.4".into(),
            "heads.count=2".into(),
            format!("heads.last={last}"),
            format!("method.shared_target={shared}"),
            format!("amcl.adaptive={adaptive}"),
        ];
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let a = config(&set).amcl.switches;
        let mut run = run(&set);
        let views = [view(B, 5, 0), view(B, 5, 1)];
        let seen = run.on([&views[0], &views[1]]);
        let p = run.named(PARAMS);
        let targets = if shared { 1 } else { 2 };
        assert_eq!(p["head.0.weight"].len(), targets * 8 * 16, "{name}");
        let kinds = ["head.3.bias", "head.4.weight"].map(|n| p.contains_key(n));
        assert_eq!(kinds, [last == "plain", last == "norm"], "{name}");
        let loss = |last: &str, second: usize| {
            let sides = [0, 1].map(|i| {
                let x = rows(&seen.features[i], 16);
                let z = |c: usize| mlp(&p, "head", (c, targets), last, &x);
                // What head c compares with, and what it predicts from.
                let z = [z(0), z(second)];
                let predict = |c: usize| mlp(&p, "predictor", (c, 2), "plain", &z[c]);
                ([predict(0), predict(1)], z)
            });
            let [(p1, z1), (p2, z2)] = &sides;
            if adaptive == "full" {
                let t = Temperatures {
                    a: &a,
                    phi: ["0.weight", "0.bias", "2.weight", "2.bias"]
                        .map(|n| &p[&format!("phi.{n}")][..]),
                    gain: 1.0,
                };
                return t.simsiam(p1, z2) + t.simsiam(p2, z1);
            }
            let cosines = |c: usize| mean_cosine(&p1[c], &z2[c]) + mean_cosine(&p2[c], &z1[c]);
            -0.5 * (cosines(0) + cosines(1)) / 0.4
        };
        // f64 through three layers of batch norm over four rows.
        let want = loss(last, targets - 1);
        let e = (seen.loss - want).abs() / want.abs();
        assert!(e < 1e-9, "{name}: off by {e}");
        // The controls: another last layer; where each head has a target, the first one's for both.
        let other = if last == "bare_norm" {
            "linear"
        } else {
            "bare_norm"
        };
        let e = (seen.loss - loss(other, targets - 1)).abs() / want.abs();
        assert!(e > 1e-6, "{name}: {e}");
        let e = (seen.loss - loss(last, 0)).abs() / want.abs();
        assert_eq!(e > 1e-6, !shared, "{name}: {e}");
    }
}

/// A golden file with other settings in its `config`.
fn file(name: &str, set: &[(&str, serde_json::Value)], without: &str) -> LossFile {
    let path = format!(
        "{}/tests/golden/{name}.safetensors",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut meta: serde_json::Value =
        serde_json::from_str(&header.metadata().as_ref().unwrap()["meta"]).unwrap();
    for (key, value) in set {
        meta["config"][*key] = value.clone();
    }
    let st = SafeTensors::deserialize(&bytes).unwrap();
    let kept = st
        .tensors()
        .into_iter()
        .filter(|(n, _)| without.is_empty() || !n.contains(without));
    let tensors: Vec<(String, TensorView<'_>)> = kept.collect();
    let meta = HashMap::from([("meta".to_string(), meta.to_string())]);
    LossFile::parse(&safetensors::serialize(tensors, Some(meta)).unwrap()).unwrap()
}

fn evaluate(f: &LossFile) -> Result<f64, LossError> {
    Ok(f.evaluate(&mut HostExecutor::<f64>::new())?.loss)
}

/// Loss files say whose temperature adapts; the losses without negatives take it too, or refuse.
#[test]
fn loss_files_say_what_adapts() {
    let tensor = |f: &LossFile, name: &str| {
        let t = &f.tensors[name];
        heads(&t.values, t.shape[1], t.shape[2])
    };
    for (kind, count) in [("amcl_barlow_c2", 4), ("amcl_simsiam_c2", 2)] {
        let mut seen = Vec::new();
        for adaptive in [
            "none",
            "full",
            "positive_only",
            "negative_only",
            "first_head",
        ] {
            // Where nothing adapts the file needs no phi.
            let without = if adaptive == "none" { "phi" } else { "" };
            let set = [
                ("adaptive", adaptive.into()),
                ("tau_const", 0.4.into()),
                ("tau_diagonal", 0.7.into()),
                ("tau_off_diagonal", 1.6.into()),
            ];
            let f = file(kind, &set, without);
            if (kind, adaptive) == ("amcl_simsiam_c2", "negative_only") {
                let e = evaluate(&f).unwrap_err().to_string();
                assert!(
                    e.contains("no negatives") && e.contains("first_head"),
                    "{e}"
                );
                continue;
            }
            let loss = evaluate(&f).unwrap();
            let a = amcl_wgpu::methods::loss::Amcl {
                adaptive: serde_json::from_value(adaptive.into()).unwrap(),
                beta: if count == 4 { 1e-3 } else { 1e-2 },
                tau_min: 1e-5,
                tau_max: 2.0,
                ..Default::default()
            };
            let empty: &[f64] = &[];
            let layer = |n: &str| {
                f.tensors
                    .get(&format!("phi.{n}"))
                    .map_or(empty, |t| &t.values[..])
            };
            let t = Temperatures {
                a: &a,
                phi: ["0.weight", "0.bias", "2.weight", "2.bias"].map(layer),
                gain: 1.0,
            };
            let want = match (count, adaptive) {
                (4, "none") => {
                    let [x, y] = ["z1", "z2"].map(|n| tensor(&f, n));
                    let of = |c: usize| {
                        let k = common::plain::correlation(&x[c], &y[c], UNBIASED);
                        let each = k.iter().enumerate().flat_map(|(l, row)| {
                            let term = move |(m, v): (usize, &f64)| match l == m {
                                true => (1.0 - v / 0.7f64).powi(2),
                                false => 5e-3 * v * v / 1.6,
                            };
                            row.iter().enumerate().map(term)
                        });
                        each.sum::<f64>()
                    };
                    of(0) + of(1)
                }
                (4, _) => {
                    let [x, y] = ["z1", "z2"].map(|n| tensor(&f, n));
                    t.barlow([&x, &y], 5e-3, [0.7, 1.6], false, UNBIASED)
                }
                _ => {
                    let [p1, p2, z1, z2] = ["p1", "p2", "z1", "z2"].map(|n| tensor(&f, n));
                    match adaptive {
                        "none" => {
                            let of = |c: usize| {
                                mean_cosine(&p1[c], &z2[c]) + mean_cosine(&p2[c], &z1[c])
                            };
                            -0.5 * (of(0) + of(1)) / 0.4
                        }
                        _ => t.simsiam(&p1, &z2) + t.simsiam(&p2, &z1),
                    }
                }
            };
            // f64; the file's numbers are f32, the same for both.
            let e = (loss - want).abs() / want.abs();
            assert!(e < 1e-9, "{kind} {adaptive}: {loss} {want}");
            seen.push(loss);
        }
        // The control: they differ, but for simsiam's one role, which is the positive's.
        seen.sort_by(f64::total_cmp);
        seen.dedup();
        assert_eq!(
            seen.len(),
            if count == 4 { 5 } else { 3 },
            "{kind}: {seen:?}"
        );
    }
}

/// A schedule that moves no temperature is refused, with what to do; one that does is taken.
#[test]
fn a_cosine_without_a_temperature_to_move_is_refused() {
    let parse = |set: &[&str]| {
        let set: Vec<String> = set.iter().map(ToString::to_string).collect();
        Config::parse("", &[set, vec!["loss.schedule=cosine".into()]].concat())
    };
    let amcl = "amcl.enabled=true";
    for set in [
        &["method.name=simclr"][..],
        &["method.name=moco"],
        &[amcl, "amcl.adaptive=none"],
        &[amcl, "amcl.adaptive=positive_only"],
        &[amcl, "amcl.adaptive=negative_only", "method.name=moco"],
    ] {
        parse(set).unwrap_or_else(|e| panic!("{set:?}: {e}"));
    }
    for (set, what) in [
        (
            &["method.name=simsiam"][..],
            "SimSiam has none such: set loss.schedule to constant",
        ),
        (
            &["method.name=simsiam", amcl, "amcl.adaptive=none"],
            "SimSiam has none such",
        ),
        (&["method.name=barlow_twins"], "Barlow Twins has none such"),
        (
            &["method.name=barlow_twins", amcl, "amcl.adaptive=none"],
            "Barlow Twins has none such",
        ),
        (&["method.name=byol"], "BYOL has none such"),
        (&["method.name=vicreg"], "VICReg has none such"),
        (
            &[amcl],
            "set amcl.adaptive to none, positive_only or negative_only",
        ),
        (
            &[amcl, "amcl.adaptive=first_head", "method.name=moco"],
            "phi gives every temperature",
        ),
    ] {
        let e = parse(set).unwrap_err().to_string();
        assert!(e.contains(what), "{set:?}: {e}");
    }
}

/// A method named on top of another one's preset has what its own recipe needs; what is set stays.
#[test]
fn a_method_named_alone_has_its_recipes_safeguards() {
    let on = |text: &str, set: &[&str]| {
        let set: Vec<String> = set.iter().map(ToString::to_string).collect();
        Config::parse(text, &set)
    };
    let quick = Config::preset("quickstart").unwrap();
    let moco = |set: &[&str]| on(quick, &[&["method.name=moco"], set].concat());
    let splits_of = |c: &Config| c.method.settings["bn_splits"].as_integer();
    assert_eq!(splits_of(&moco(&[]).unwrap()), Some(8));
    for (set, splits) in [
        (&["optim.batch_size=12"][..], 6),
        (&["optim.batch_size=64", "optim.micro_batches=16"], 2),
        (&["method.bn_splits=4"], 4),
        (&["method.bn_splits=1"], 1),
        (&["method.bn_splits=1", "optim.batch_size=13"], 1),
    ] {
        assert_eq!(splits_of(&moco(set).unwrap()), Some(splits), "{set:?}");
    }
    let e = moco(&["optim.batch_size=13"]).unwrap_err().to_string();
    assert!(e.contains("method.bn_splits") && e.contains("leak"), "{e}");

    let of = |c: Config| {
        let a = c.amcl.switches;
        (c.heads.last, a.phi_hidden, a.beta)
    };
    let simsiam = |set: &[&str]| of(on(quick, &[&["method.name=simsiam"], set].concat()).unwrap());
    assert_eq!(simsiam(&[]), (Last::Norm, 128, 1e-4));
    assert_eq!(simsiam(&["heads.out=2048"]), (Last::Norm, 2048, 1e-4));
    let set = ["heads.last=plain", "amcl.beta=0.1", "amcl.phi_hidden=16"];
    assert_eq!(simsiam(&set), (Last::Plain, 16, 0.1));
    let barlow =
        |set: &[&str]| of(on(quick, &[&["method.name=barlow_twins"], set].concat()).unwrap());
    assert_eq!(barlow(&[]), (Last::Plain, 128, 1e-6));
    assert_eq!(barlow(&["amcl.beta=0.2"]), (Last::Plain, 128, 0.2));
    // Nothing of this where it reaches nothing, nor for other methods.
    for name in ["simclr", "simsiam", "barlow_twins", "moco"] {
        let c = on(
            quick,
            &[&format!("method.name={name}"), "amcl.adaptive=none"],
        )
        .unwrap();
        assert_eq!(
            (c.amcl.switches.phi_hidden, c.amcl.switches.beta),
            (128, 0.1)
        );
    }
    assert_eq!(on(quick, &[]).unwrap().amcl.switches.beta, 0.1);
    // Plain presets with --amcl become the recipe of the presets with AMCL.
    for (plain, own) in [
        ("simsiam-cifar10", "simsiam-amcl-cifar10"),
        ("barlow-cifar10", "barlow-amcl-cifar10"),
    ] {
        let set = ["amcl.enabled=true", "heads.count=3"];
        let got = on(Config::preset(plain).unwrap(), &set).unwrap();
        let want = on(Config::preset(own).unwrap(), &[]).unwrap();
        assert_eq!((got.heads, got.amcl), (want.heads, want.amcl), "{plain}");
    }
}

/// Keys of the method of an experiment's case: the one that it names, or its preset's.
fn own_keys(preset: &str, case: &toml::Value) -> Vec<String> {
    let named = case.get("set").and_then(|s| s.get("method.name")?.as_str());
    let table: toml::Table = preset.parse().unwrap();
    let of_preset = table.get("method").and_then(|m| m.get("name")?.as_str());
    let name = named.or(of_preset).unwrap_or("simclr");
    (amcl_wgpu::methods::spec(name).unwrap().keys)()
}

/// Presets and the experiments that come with the program say all of it themselves: they are what TOML on top of the
/// defaults makes of them, as when their results were made.
#[test]
fn presets_and_experiments_are_as_they_are_written() {
    let literal = |text: &str, set: &[(String, toml::Value)]| -> Config {
        let mut table: toml::Table = text.parse().unwrap();
        for (key, value) in set {
            let (section, key) = key.split_once('.').unwrap();
            let section = table
                .entry(section)
                .or_insert_with(|| toml::Table::new().into());
            section
                .as_table_mut()
                .unwrap()
                .insert(key.into(), value.clone());
        }
        let mut c: Config = table.try_into().unwrap();
        // What no file names of the encoder's and the method's settings has its default; no safeguard is applied.
        let family = family(&c.model.encoder).unwrap();
        c.model.settings = (family.complete)(&c.model.settings).unwrap();
        c.method.settings = (c.spec().unwrap().complete)(&c.method.settings).unwrap();
        c
    };
    let parsed = |text: &str, set: &[(String, toml::Value)]| {
        let set: Vec<String> = set.iter().map(|(k, v)| format!("{k}={v}")).collect();
        Config::parse(text, &set).unwrap_or_else(|e| panic!("{set:?}: {e}"))
    };
    for (name, text) in PRESETS.iter() {
        let mut said = literal(text, &[]);
        // AMCL's form is left to the method: a form that is asked for then has its own floor, and the quickstart is
        // tried with other methods.
        let open = *name == "quickstart" || name.starts_with("simclr-amcl");
        if open && !text.contains("parametrisation") {
            let a = &mut said.amcl.switches;
            (a.parametrisation, a.tau_min) = (Parametrisation::Centred, 0.02);
        }
        assert_eq!(parsed(text, &[]), said, "{name}");
    }
    let list = |t: Option<&toml::Value>| -> Vec<(String, toml::Value)> {
        let t = t.and_then(toml::Value::as_table);
        t.into_iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    let mut count = 0;
    for e in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/experiments")).unwrap()
    {
        let path = e.unwrap().path();
        let file: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let grid = list(file.get("grid"));
        let points = grid.iter().flat_map(|(k, v)| {
            v.as_array()
                .unwrap()
                .iter()
                .map(|v| vec![(k.clone(), v.clone())])
        });
        let mut points: Vec<Vec<(String, toml::Value)>> = points.collect();
        points.push(Vec::new());
        for case in file["case"].as_array().unwrap() {
            let preset = case.get("preset").or(file.get("preset")).unwrap();
            let preset = preset.as_str().unwrap();
            // `moco-*` are moco's for any data set, but not `moco-amcl-cifar10`.
            let of_data = |name: &str| match preset.strip_suffix('*') {
                Some(start) => name.strip_prefix(start).is_some_and(|d| !d.contains('-')),
                None => name == preset,
            };
            let named: Vec<_> = PRESETS.iter().filter(|p| of_data(p.0)).collect();
            assert!(!named.is_empty(), "{path:?}: {preset}");
            for (point, (_, text)) in points
                .iter()
                .flat_map(|p| named.iter().map(move |t| (p, t)))
            {
                let mut set = list(file.get("set"));
                set.extend(list(file.get("small")));
                // What is set for all cases may be of one method alone.
                let all: Vec<&(String, toml::Value)> = set.iter().chain(point).collect();
                let keys = own_keys(text, case);
                let own = |(key, _): &&&(String, toml::Value)| match key.strip_prefix("method.") {
                    Some(key) => key == "name" || keys.iter().any(|k| k == key),
                    None => true,
                };
                let mut set: Vec<(String, toml::Value)> =
                    all.iter().filter(own).map(|p| (*p).clone()).collect();
                set.extend(list(case.get("set")));
                assert_eq!(parsed(text, &set), literal(text, &set), "{path:?} {case}");
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count}");
}
