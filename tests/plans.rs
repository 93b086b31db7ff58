//! What the presets of ImageNet, its subset of 100 classes and Imagenette say of memory and time is what the program
//! plans, for each network width that their first lines name.

use amcl_wgpu::comm::World;
use amcl_wgpu::config::method::method;
use amcl_wgpu::config::presets::PRESETS;
use amcl_wgpu::config::{Config, Precision};
use amcl_wgpu::data::{Dataset, Split};
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::train::session::Session;

/// Images to train on, classes, and the side of the stored images, by the folder that a preset names.
const SETS: [(&str, usize, usize, usize); 3] = [
    ("imagenet", 1_281_167, 1000, 256),
    ("imagenet100", 126_689, 100, 256),
    ("imagenette2-160", 9_469, 10, 160),
];
/// TFLOP/s of ResNet-18's training step on an H200 in f32 and in mixed precision (`docs/results/bench-h200.json`).
const RATES: [f64; 2] = [29.5, 94.0];

/// What a preset says of itself with some settings.
#[derive(Debug)]
struct Said {
    set: Vec<String>,
    gibibytes: f64,
    hours: f64,
    rate: f64,
}

/// The comment that a preset begins with, in one line.
fn head(text: &str) -> String {
    let lines = text.lines().map_while(|l| l.strip_prefix("# "));
    lines.collect::<Vec<_>>().join(" ")
}

/// `.. --set A --set B: 12.3 GiB planned, 96 h at 94 TFLOP/s`, as often as it stands there.
fn said(head: &str) -> Vec<Said> {
    let pieces: Vec<&str> = head.split(" GiB planned, ").collect();
    let number = |word: Option<&str>| word.and_then(|w| w.replace(',', "").parse().ok());
    pieces
        .windows(2)
        .map(|pair| {
            let words: Vec<&str> = pair[0].split_whitespace().collect();
            let mut behind = pair[1].split_whitespace();
            let set = words
                .iter()
                .zip(&words[1..])
                .filter(|(w, _)| **w == "--set");
            let hours = number(behind.next());
            Said {
                set: set
                    .map(|(_, s)| s.trim_end_matches(':').to_string())
                    .collect(),
                gibibytes: number(words.last().copied()).unwrap_or_else(|| panic!("{head}")),
                hours: hours.unwrap_or_else(|| panic!("{head}")),
                rate: number(behind.nth(2)).unwrap_or_else(|| panic!("{head}")),
            }
        })
        .collect()
}

/// GiB and hours that the program plans for a configuration, at a rate of TFLOP/s.
fn planned(config: &Config, rate: f64) -> (f64, f64) {
    let (_, images, classes, side) = SETS
        .into_iter()
        .find(|s| s.0 == config.data.path)
        .unwrap_or_else(|| panic!("{}", config.data.path));
    // A set that is streamed is planned alike whatever its length; pages that nobody writes take no memory.
    let bytes = images * side * side * 3;
    let resident = bytes >> 20 <= config.data.resident_mib;
    let mut train = Dataset::empty(side, side);
    train.images = vec![0; if resident { bytes } else { side * side * 3 }];
    let mut config = config.clone();
    if !resident {
        config.data.resident_mib = 0;
    }
    let mut bank = Dataset::empty(1, 1);
    (bank.images, bank.labels) = (vec![0; 3 * images], vec![0; images]);
    let split = Split {
        description: String::new(),
        warnings: Vec::new(),
        train: bank.clone(),
        labelled: None,
        test: bank,
        classes: vec![String::new(); classes],
    };
    let method = method(&config).unwrap();
    let exec = HostExecutor::<f32>::new();
    let of = (&train, Some(&split));
    let plan = Session::planned(&config, (method.as_ref(), &World::default()), &exec, of).unwrap();
    let steps = images / config.optim.batch_size * config.run.epochs;
    let gibibytes = plan.memory.planned as f64 / f64::from(1 << 30);
    (
        gibibytes,
        plan.step_flops * steps as f64 / (rate * 1e12) / 3600.0,
    )
}

/// Equal but for rounding, and for the few percent by which kernels' changes move a plan.
fn near(said: f64, planned: f64) -> bool {
    (said - planned).abs() <= 0.05 * planned + 0.06
}

#[test]
fn presets_say_the_memory_and_the_hours_that_are_planned() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (name, text) in PRESETS.iter() {
        let plain = Config::parse(text, &[]).unwrap();
        if !SETS.iter().any(|s| s.0 == plain.data.path) {
            continue;
        }
        let head = head(text);
        let all = said(&head);
        let (batch, parts) = (plain.optim.batch_size, plain.optim.micro_batches);
        let of_batch = match parts {
            1 => format!("Batch {batch}: "),
            n => format!("Batch {batch} in {n} parts: "),
        };
        if all.is_empty() || !head.contains(&of_batch) {
            wrong.push(format!("{name}: no plan of `{of_batch}`"));
        }
        // What is not said yet is told too.
        let none = Said {
            set: Vec::new(),
            gibibytes: 0.0,
            hours: 0.0,
            rate: 0.0,
        };
        for s in all.iter().chain(all.is_empty().then_some(&none)) {
            let config = Config::parse(text, &s.set).unwrap();
            let rate = RATES[usize::from(config.optim.precision == Precision::Mixed)];
            let (gibibytes, hours) = planned(&config, rate);
            if s.rate != rate || !near(s.gibibytes, gibibytes) || !near(s.hours, hours) {
                wrong.push(format!(
                    "{name} {:?}: {gibibytes:.1} GiB planned, {hours:.1} h at {rate} TFLOP/s; it says {s:?}",
                    s.set
                ));
            }
            seen += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // 8 of ImageNet's ResNets with four wider ones, 8 of its Transformers, 8 of each smaller set, 5 in mixed precision.
    assert!(seen >= 8 + 4 + 8 + 16 + 5, "{seen}");
}

/// The control: half as many parts, or another number of epochs, is not what a preset says.
#[test]
fn another_plan_is_told_from_what_a_preset_says() {
    let (_, text) = PRESETS.iter().find(|p| p.0 == "simclr-imagenet").unwrap();
    let first = said(&head(text)).swap_remove(0);
    let other = ["optim.micro_batches=16".to_string(), "run.epochs=90".into()];
    let (gibibytes, hours) = planned(&Config::parse(text, &other).unwrap(), first.rate);
    assert!(!near(first.gibibytes, gibibytes), "{first:?} {gibibytes}");
    assert!(!near(first.hours, hours), "{first:?} {hours}");
}
