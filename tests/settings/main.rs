//! Every number that a user can give has a range: in files, as overrides, by flags, in sweeps. Each message names the
//! number and the range. Products of such numbers are checked too.

mod program;

use amcl_wgpu::config::Config;
use amcl_wgpu::config::presets::PRESETS;
use amcl_wgpu::downstream::finetune::FinetuneSettings;
use amcl_wgpu::downstream::protocols::ProbeSettings;
use amcl_wgpu::experiment::{Experiment, Sweep};
use amcl_wgpu::graph::{GraphError, MAX_ELEMENTS, Shape, States, TensorType};
use amcl_wgpu::methods::{Chosen, METHODS, Recipe, Spec};
use amcl_wgpu::nn::Backbone;
use amcl_wgpu::nn::backbones::FAMILIES;
use amcl_wgpu::prelude::Choice;
use amcl_wgpu::settings::{self, Field, Section, at_least, between};
use toml::{Table, Value};

/// A section's settings, and the override without which it has not got them.
struct Subject {
    section: &'static str,
    chosen: Option<String>,
    fields: Vec<Field>,
}

/// Every section of a configuration, with the settings of every method and every family of encoders.
fn subjects() -> Vec<Subject> {
    let own = Config::fields()
        .into_iter()
        .map(|(section, fields)| Subject {
            section,
            chosen: None,
            fields,
        });
    let methods = METHODS.iter().map(|m| Subject {
        section: "method",
        chosen: Some(format!("method.name={}", m.name)),
        fields: (m.fields)(),
    });
    let families = FAMILIES.iter().map(|f| Subject {
        section: "model",
        chosen: Some(format!("model.encoder={}", f.names[0])),
        fields: (f.fields)(),
    });
    own.chain(methods).chain(families).collect()
}

/// Values as TOML has them: outside of a field's range, and its ends as far as they are inside.
fn samples(f: &Field) -> [Vec<String>; 2] {
    let [(low, low_in), (high, high_in)] = f.range.unwrap().ends();
    let shown = |x: f64| match f.whole {
        true => (x as i64).to_string(),
        false => format!("{x:?}"),
    };
    let (mut bad, mut good) = (Vec::new(), Vec::new());
    match low_in {
        true => {
            let step = if f.whole {
                1.0
            } else {
                low.abs().max(1e-3) / 2.0
            };
            bad.push(shown(low - step));
            good.push(shown(low));
        }
        false => bad.push(shown(low)),
    }
    bad.push(shown(low - 1.0));
    match high_in {
        true if high.is_infinite() => {}
        true => {
            // The last seed lies a thousand below the largest integer of TOML.
            bad.push(shown((high * 1.5).max(high + 1.0).min(i64::MAX as f64)));
            good.push(shown(high));
        }
        false => bad.push(shown(high)),
    }
    match f.whole {
        // A fraction is outside of every range of whole numbers.
        true => bad.push(format!("{:?}", low + 0.5)),
        false => bad.extend(["nan", "inf", "-inf"].map(String::from)),
    }
    bad.extend(["true", "\"many\""].map(String::from));
    [bad, good]
}

/// The value in the field's form: alone, or at each place of its list, the other places as they are.
fn forms(f: &Field, value: &str, default: &Value) -> Vec<String> {
    let count = match (f.list, f.count) {
        (false, _) => return vec![value.to_string()],
        (true, None) => return vec![format!("[{value}]")],
        (true, Some(count)) => count,
    };
    let all: Vec<String> = default
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    assert_eq!(all.len(), count);
    let at = |i: usize| {
        let mut each = all.clone();
        each[i] = value.to_string();
        format!("[{}]", each.join(", "))
    };
    (0..count).map(at).collect()
}

/// A method that takes no other encoder gets a Vision Transformer.
fn encoder_of(s: &Subject) -> Option<&'static str> {
    let method = s
        .chosen
        .as_ref()
        .and_then(|c| c.strip_prefix("method.name="));
    let needs = METHODS
        .iter()
        .any(|m| Some(m.name) == method && m.needs_vit);
    needs.then_some("vit_tiny")
}

/// What chooses the section's subject.
fn chosen(s: &Subject) -> Vec<String> {
    let encoder = encoder_of(s).map(|e| format!("model.encoder={e}"));
    s.chosen.iter().cloned().chain(encoder).collect()
}

fn parse(s: &Subject, set: &str) -> Result<Config, String> {
    let over = [chosen(s), vec![set.to_string()]].concat();
    Config::parse("", &over).map_err(|e| e.to_string())
}

/// As a file has it.
fn parse_file(s: &Subject, key: &str, value: &str) -> Result<Config, String> {
    let own = s.chosen.as_ref().map_or(String::new(), |c| {
        let (key, name) = c.split_once('=').unwrap();
        format!("{} = \"{name}\"\n", key.split('.').next_back().unwrap())
    });
    let encoder = encoder_of(s).map_or(String::new(), |e| format!("[model]\nencoder = \"{e}\"\n"));
    let text = format!(
        "version = 2\n[{}]\n{own}{key} = {value}\n{encoder}",
        s.section
    );
    Config::parse(&text, &[]).map_err(|e| e.to_string())
}

#[test]
fn every_field_refuses_what_is_outside_its_range_and_takes_its_ends() {
    let (mut ranged, mut strictly) = (0, 0);
    for s in subjects() {
        let over = chosen(&s);
        let whole = Table::try_from(Config::parse("", &over).unwrap()).unwrap();
        for f in &s.fields {
            let key = format!("{}.{}", s.section, f.name);
            let default = &whole[s.section][f.name];
            let Some(range) = f.range else {
                let numbers = default.is_integer() || default.is_float() || default.is_array();
                assert!(!numbers, "{key} is a number without a range");
                continue;
            };
            ranged += 1;
            let [bad, good] = samples(f);
            for value in bad.iter().flat_map(|v| forms(f, v, default)) {
                for e in [
                    parse(&s, &format!("{key}={value}")),
                    parse_file(&s, f.name, &value),
                ] {
                    let e = e.expect_err(&format!("{key} = {value} was taken"));
                    let named = e.contains(&format!("{key} is ")) && e.contains(&range.to_string());
                    assert!(named && !e.contains('\n'), "{key} = {value}: {e}");
                }
            }
            // The ends are inside. Another check may refuse them, of several settings together, and then says so.
            for value in good.iter().flat_map(|v| forms(f, v, default)) {
                for parsed in [
                    parse(&s, &format!("{key}={value}")),
                    parse_file(&s, f.name, &value),
                ] {
                    let said = parsed.err().unwrap_or_default();
                    assert!(
                        !said.contains(&format!("{range}")),
                        "{key} = {value}: {said}"
                    );
                    strictly += usize::from(said.is_empty());
                }
            }
            // The control: what it is by default, said.
            let value = default.to_string();
            assert!(
                parse(&s, &format!("{key}={value}")).is_ok(),
                "{key} = {value}"
            );
        }
    }
    assert!(ranged > 60, "{ranged} numbers");
    assert!(
        strictly > 2 * ranged,
        "only {strictly} ends of {ranged} numbers were taken"
    );
}

#[test]
fn settings_of_evaluations_have_ranges_too() {
    let probe = ProbeSettings::fields();
    let numbers = [
        "epochs",
        "lr",
        "batch_size",
        "momentum",
        "weight_decay",
        "seed",
    ];
    assert!(
        numbers
            .iter()
            .all(|n| probe.iter().any(|f| f.name == *n && f.range.is_some()))
    );
    let wrong = [
        ProbeSettings {
            epochs: Some(0),
            ..ProbeSettings::default()
        },
        ProbeSettings {
            lr: Some(f32::NAN),
            ..ProbeSettings::default()
        },
        ProbeSettings {
            batch_size: Some(0),
            ..ProbeSettings::default()
        },
        ProbeSettings {
            momentum: Some(1.0),
            ..ProbeSettings::default()
        },
        ProbeSettings {
            weight_decay: Some(-1.0),
            ..ProbeSettings::default()
        },
        ProbeSettings {
            seed: u64::MAX,
            ..ProbeSettings::default()
        },
    ];
    for (p, name) in wrong.iter().zip(numbers) {
        let e = p.resolve().unwrap_err().to_string();
        assert!(
            e.starts_with(&format!("linear.{name} is ")) && e.contains("it must be"),
            "{e}"
        );
    }
    assert!(ProbeSettings::default().resolve().is_ok());
    // All but those that are chosen among names.
    let named: Vec<&str> = FinetuneSettings::fields()
        .iter()
        .filter(|f| f.range.is_none())
        .map(|f| f.name)
        .collect();
    assert_eq!(
        named,
        ["optimiser", "decay", "moves", "pool", "interpolation"]
    );
    let e = FinetuneSettings {
        lr: -1.0,
        ..FinetuneSettings::default()
    };
    assert!(
        e.check_ranges("finetune")
            .unwrap_err()
            .contains("finetune.lr is -1")
    );
    assert!(FinetuneSettings::default().check_ranges("finetune").is_ok());
}

#[test]
fn ranges_say_what_they_are() {
    for (range, text, inside, outside) in [
        (between(0.0, 1.0), "from 0 to 1", 1.0, 1.0 + 1e-9),
        (
            between(0.0, 1.0).without_high(),
            "at least 0 and below 1",
            0.0,
            1.0,
        ),
        (
            between(0.0, 1.0).without_low(),
            "larger than 0 and at most 1",
            1.0,
            0.0,
        ),
        (at_least(2.0), "at least 2", 1e300, f64::INFINITY),
        (at_least(2.0).without_low(), "larger than 2", 2.1, 2.0),
        (
            between(0.0, 1.0).advising("divide"),
            "from 0 to 1: divide",
            0.5,
            f64::NAN,
        ),
    ] {
        assert_eq!(range.to_string(), text);
        assert!(range.contains(inside) && !range.contains(outside), "{text}");
    }
}

#[test]
fn products_of_settings_are_refused_before_anything_is_made() {
    let amcl = "amcl.enabled=true";
    for (set, want) in [
        (
            &["model.width=8192", "model.width_multiplier=64"][..],
            "must be at most 8192",
        ),
        (
            &["optim.batch_size=1048576", "model.image_size=4096"],
            "model.image_size squared",
        ),
        (
            &[
                amcl,
                "heads.count=1024",
                "heads.hidden=131072",
                "heads.out=131072",
            ],
            "heads.count x heads.hidden",
        ),
        (
            &[
                amcl,
                "heads.count=1024",
                "heads.out=131072",
                "optim.batch_size=65536",
            ],
            "numbers in one tensor",
        ),
        (
            &[
                "method.name=moco",
                "method.queue=16777216",
                amcl,
                "heads.count=1024",
                "heads.out=1024",
            ],
            "method.queue x heads.count x heads.out",
        ),
        (
            &["model.image_size=8", "model.stem_stride=64"],
            "model.image_size 8 is too small for a stem",
        ),
        (
            &["amcl.enabled=true", "amcl.phi_hidden=0"],
            "amcl.phi_hidden is 0",
        ),
    ] {
        let over: Vec<String> = set.iter().map(ToString::to_string).collect();
        let e = Config::parse("", &over).unwrap_err().to_string();
        assert!(e.contains(want) && !e.contains('\n'), "{set:?}: {e}");
    }
    // The control: large, and possible.
    let large = [
        "model.width=1024",
        "optim.batch_size=65536",
        "heads.hidden=8192",
        "heads.out=8192",
    ];
    Config::parse("", &large.map(String::from)).unwrap();
}

#[test]
fn sizes_beyond_any_memory_do_not_wrap() {
    let huge = 1usize << 40;
    let shape = Shape::from([huge, huge, 3]);
    assert_eq!(shape.elements(), usize::MAX);
    assert_eq!(Shape::from([huge, huge, 0]).elements(), 0);
    assert_eq!(TensorType::f32([huge, huge]).bytes(), usize::MAX);
    // A tensor that is possible, and one whose product is not.
    let side = 1 << 12;
    assert!(TensorType::f32([side, side, side, 3]).is_possible());
    assert!(!TensorType::f32([MAX_ELEMENTS, 2]).is_possible());
    let mut g = amcl_wgpu::graph::Graph::new();
    let x = g.input("x", TensorType::f32([1 << 21, 1 << 21, 4]));
    let e = g
        .push1(amcl_wgpu::ops::scale::Scale { factor: 2.0 }, &[x])
        .unwrap_err();
    assert!(matches!(e, GraphError::Memory(_)), "{e}");
    let group = amcl_wgpu::graph::state::Group::transient("large");
    let mut states = States::new();
    states.add(group, "a", TensorType::f32([huge, huge]));
    states.add(group, "b", TensorType::f32([huge]));
    assert_eq!(states.bytes(), usize::MAX);
    let e = amcl_wgpu::graph::plan::states_fit(&states, None).unwrap_err();
    assert!(e.to_string().contains("use a smaller network"), "{e}");
}

#[test]
fn sweeps_refuse_the_same_numbers_with_the_case_s_name() {
    let plan = |text: &str| -> Result<(), String> {
        let e = Experiment::parse(text).map_err(|e| e.to_string())?;
        let out = std::path::Path::new("nowhere");
        let planned = Sweep::new(e, &[], out, Choice::Cpu).map(drop);
        planned.map_err(|e| {
            let of = std::error::Error::source(&e);
            format!("{e}: {}", of.map_or(String::new(), ToString::to_string))
        })
    };
    let file = |top: &str, case: &str| {
        format!("preset = \"quickstart\"\n{top}\n[[case]]\nname = \"plain\"\n{case}\n")
    };
    for (top, case, want) in [
        (
            "grid = { \"optim.lr\" = [0.1, nan] }",
            "",
            "optim.lr is NaN; it must be",
        ),
        (
            "",
            "set = { \"optim.momentum\" = 1.5 }",
            "optim.momentum is 1.5; it must be",
        ),
        (
            "set = { \"run.knn_t\" = 0 }",
            "",
            "run.knn_t is 0; it must be",
        ),
        ("", "times = { \"heads.hidden\" = -3 }", "heads.hidden is -"),
        (
            "",
            "times = { \"heads.hidden\" = 9223372036854775807 }",
            "the product is too large",
        ),
        ("grid = { \"optim.lr\" = [] }", "", "optim.lr has no values"),
        ("grid = { \"optim.lr\" = [0.1, 0.1] }", "", "twice"),
        ("seeds = [1, 1]", "", "seeds holds 1 twice"),
        ("seeds = [-1]", "", "line 2"),
        (
            "draws = 0",
            "",
            "draws is 0; it must be a whole number from 1",
        ),
        ("labels = [10, 0]", "", "labels is 0; it must be"),
        ("linear = { lr = -1 }", "", "linear.lr is -1; it must be"),
        (
            "",
            "[[case]]\nname = \"plain\"",
            "two cases are called `plain`",
        ),
    ] {
        let e = plan(&file(top, case)).unwrap_err();
        assert!(e.contains(want) && !e.contains('\n'), "{top} {case}: {e}");
    }
    plan(&file(
        "grid = { \"optim.lr\" = [0.1, 0.2] }\nseeds = [1, 2]",
        "",
    ))
    .unwrap();
}

/// A method of a test: without projection heads, and of encoders of at most 64 channels.
fn of_test() -> Spec {
    Spec {
        has_heads: false,
        check: |_, encoder| match encoder.backbone.width() {
            w if w > 64 => Err(format!(
                "{} at {} px is {w} wide",
                encoder.name, encoder.image_size
            )),
            _ => Ok(()),
        },
        ..*METHODS[0]
    }
}

#[test]
fn a_method_sees_the_encoder_when_it_is_checked_and_heads_that_it_has_not_got_are_refused() {
    let spec = of_test();
    let check = |set: &[&str]| {
        let over: Vec<String> = set.iter().map(ToString::to_string).collect();
        let c = Config::parse("", &over).unwrap();
        let backbone: std::sync::Arc<dyn Backbone> = c.backbone().unwrap();
        let encoder = Chosen {
            name: &c.model.encoder,
            image_size: c.model.image_size,
            backbone: backbone.as_ref(),
        };
        let recipe: Recipe = c.recipe();
        (
            spec.check(&recipe, &encoder),
            METHODS[0].check(&recipe, &encoder),
        )
    };
    let (own, other) = check(&["heads.hidden=32"]);
    assert!(
        own.unwrap_err()
            .contains("has no projection heads: leave [heads] out")
    );
    assert!(other.is_ok(), "a method that has them");
    let (own, other) = check(&["model.width=32"]);
    assert_eq!(own.unwrap_err(), "tiny at 32 px is 128 wide");
    assert!(other.is_ok());
    assert!(check(&[]).0.is_ok());
}

#[test]
fn wrong_names_are_answered_with_the_nearest() {
    for (set, want) in [
        ("model.encoder=resnet81", "did you mean resnet18?"),
        ("method.name=barlow_twin", "did you mean barlow_twins?"),
        ("optim.name=adam", "did you mean adamw?"),
        ("model.arch=resnet18", "did you mean model.encoder?"),
        ("optim.learning_rate=0.1", "did you mean optim.lr?"),
        ("optimizer.lr=0.1", "did you mean optim.lr?"),
        ("loss.tau=0.1", "did you mean loss.temperature"),
        ("run.batch=3", "did you mean optim.batch_size?"),
        ("run.lr=0.1", "did you mean optim.lr?"),
        ("epochs=3", "did you mean run.epochs?"),
        ("seed=3", "did you mean run.seed?"),
        ("data.num_workers=3", "there is none"),
        ("optim.zzzzzzzzzzzzzzz=3", "[optim] has batch_size, betas"),
    ] {
        let e = Config::parse("", &[set.to_string()])
            .unwrap_err()
            .to_string();
        assert!(e.contains(want) && !e.contains('\n'), "{set}: {e}");
    }
    assert!(
        Config::preset("simclr-cifar1")
            .unwrap_err()
            .to_string()
            .contains("did you mean simclr-cifar10?")
    );
    // The control.
    assert!(PRESETS.iter().all(|(name, _)| Config::preset(name).is_ok()));
}

#[test]
fn a_mistake_in_a_file_is_one_line_with_its_number() {
    for (text, want) in [
        ("[optim]\nlr = 0.1\nlr = 0.2\n", "line 3"),
        ("[optim\nlr = 0.1\n", "line 1"),
        ("\n\n[run]\nepochs = \n", "line 4"),
    ] {
        let e = settings::parse(text).unwrap_err();
        assert!(e.starts_with(want) && !e.contains('\n'), "{e}");
    }
}
