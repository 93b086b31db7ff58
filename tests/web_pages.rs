//! Pages that the program writes for browsers: their files agree with each other and with what the program computes.
//! What the browser makes of them is the matter of `tests/portability`.

use amcl_wgpu::graph::portable::Portable;
use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;
use std::process::Output;

fn program(args: &[&str]) -> Output {
    Command::cargo_bin("amcl-wgpu")
        .unwrap()
        .args(args)
        .output()
        .unwrap()
}

fn text(o: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&o.stdout),
        String::from_utf8_lossy(&o.stderr)
    )
}

/// A run of one epoch in `folder`, with these settings.
fn train(folder: &Path, set: &[&str]) -> String {
    let out = folder.join("run").display().to_string();
    let mut args = vec![
        "train",
        "--device",
        "cpu",
        "--epochs",
        "1",
        "--no-report",
        "--out",
        &out,
    ];
    args.extend(["--set", "optim.batch_size=32", "--set", "run.knn_every=0"]);
    for s in set {
        args.extend(["--set", s]);
    }
    let o = program(&args);
    assert!(o.status.success(), "{}", text(&o));
    out
}

fn json(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// The bytes that a span of a file names.
fn span<'b>(bytes: &'b [u8], at: &Value) -> &'b [u8] {
    let number = |k: &str| at[k].as_u64().unwrap() as usize;
    &bytes[number("offset")..number("offset") + number("bytes")]
}

/// Scripts and styles that a page names are in its folder, and each file of the folder is one that it may read.
fn complete(folder: &Path, page: &str) {
    let html = std::fs::read_to_string(folder.join(page)).unwrap();
    let named = html
        .split(['"', '\''])
        .filter(|w| w.ends_with(".js") || w.ends_with(".css"));
    let named: Vec<&str> = named.collect();
    assert!(named.len() > 5, "{named:?}");
    for n in &named {
        assert!(folder.join(n).exists(), "{page} names {n}");
    }
    for outside in ["http://", "https://", "//cdn"] {
        let loads = html
            .split("src=")
            .skip(1)
            .any(|s| s[1..].starts_with(outside));
        assert!(!loads, "{page} loads from outside");
    }
}

#[test]
fn the_page_of_an_encoder_carries_what_the_program_computes() {
    let dir = tempfile::tempdir().unwrap();
    let run = train(dir.path(), &[]);
    let site = dir.path().join("site");
    let to = site.display().to_string();
    let export = |more: &[&str]| {
        let args = [&["export", &run, "--web", &to, "--device", "cpu"], more].concat();
        program(&args)
    };
    let o = export(&["--gallery", "40"]);
    assert!(
        o.status.success() && text(&o).contains("http.server"),
        "{}",
        text(&o)
    );
    complete(&site, "index.html");

    let plan = std::fs::read_to_string(site.join("plan.json")).unwrap();
    let plan = Portable::parse(&plan).unwrap();
    let page = json(&site, "page.json");
    let weights = std::fs::metadata(site.join("weights.bin")).unwrap().len();
    for b in &plan.buffers {
        let end = b.from.map_or(0, |s| s.offset + s.bytes);
        assert!(
            end <= weights && b.from.is_none_or(|s| s.bytes <= b.bytes),
            "{b:?}"
        );
    }
    assert_eq!(
        plan.limits,
        Default::default(),
        "within WebGPU's default limits"
    );
    let embed = plan
        .programs
        .iter()
        .find(|p| page["program"] == p.name)
        .unwrap();
    let input = page["pixels"]["input"].as_str().unwrap();
    assert!(embed.inputs.iter().any(|t| t.name == input));
    assert_eq!(
        embed.outputs[0].dims,
        [page["batch"].as_u64().unwrap() as usize, 64]
    );

    // The gallery's features are those of `embed`, made 1 long.
    let gallery = std::fs::read(site.join("gallery.bin")).unwrap();
    let g = &page["gallery"];
    let features = floats(span(&gallery, &g["features"]));
    assert_eq!((g["count"].as_u64(), features.len()), (Some(40), 40 * 64));
    let all = dir.path().join("test.npy").display().to_string();
    let o = program(&[
        "embed", &run, "--device", "cpu", "--split", "test", "--out", &all,
    ]);
    assert!(o.status.success(), "{}", text(&o));
    let npy = std::fs::read(&all).unwrap();
    let rows = floats(&npy[npy.len() - 1000 * 64 * 4..]);
    let row = |i: usize| -> Vec<f32> {
        let r = &rows[i * 64..][..64];
        let norm = r.iter().map(|v| v * v).sum::<f32>().sqrt();
        r.iter().map(|v| v / norm).collect()
    };
    let far = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(x, y)| (x - y).abs())
            .fold(0f32, f32::max)
    };
    // Classes take turns in the data; the page has four images of each.
    let labels = span(&gallery, &g["labels"]).chunks(4);
    let mut classes = [0; 10];
    labels.for_each(|l| classes[l[0] as usize] += 1);
    assert_eq!(classes, [4; 10]);
    for i in [0usize, 7, 39] {
        let (got, of) = (&features[i * 64..][..64], i / 10 * 250 + i % 10);
        assert!(far(got, &row(of)) < 1e-6, "image {i}");
        assert!(far(got, &row(of + 1)) > 1e-3, "the control: its neighbour");
    }
    let xy = floats(span(&gallery, &g["map"]["xy"]));
    assert_eq!(xy.len(), 80);
    let png = image::open(site.join("gallery.png")).unwrap();
    assert_eq!((png.width(), png.height()), (32 * 32, 2 * 32));

    // Nothing is replaced unasked, and nothing of the gallery is left behind by a page without one.
    let o = export(&[]);
    assert!(
        !o.status.success() && text(&o).contains("already there"),
        "{}",
        text(&o)
    );
    let again = dir.path().join("bare").display().to_string();
    let o = program(&["export", &run, "--web", &again, "--gallery", "0"]);
    assert!(o.status.success(), "{}", text(&o));
    assert!(json(Path::new(&again), "page.json")["gallery"].is_null());
    assert!(!Path::new(&again).join("gallery.bin").exists());
}

#[test]
fn a_vision_transformer_s_page_has_its_attention() {
    let dir = tempfile::tempdir().unwrap();
    let vit = [
        "model.encoder=vit_tiny",
        "model.dim=24",
        "model.depth=1",
        "model.heads=3",
        "model.patch=8",
    ];
    let run = train(dir.path(), &vit);
    let site = dir.path().join("site");
    let o = program(&[
        "export",
        &run,
        "--web",
        &site.display().to_string(),
        "--gallery",
        "0",
    ]);
    assert!(o.status.success(), "{}", text(&o));
    let page = json(&site, "page.json");
    assert_eq!(page["attention"]["heads"], 3);
    let plan = std::fs::read_to_string(site.join("plan.json")).unwrap();
    let plan = Portable::parse(&plan).unwrap();
    let maps = plan
        .programs
        .iter()
        .find(|p| p.name == "attention")
        .unwrap();
    assert_eq!(maps.outputs[0].dims, [1, 3, 17]);
}

#[test]
fn the_page_that_trains_carries_its_proof() {
    let dir = tempfile::tempdir().unwrap();
    let run = train(dir.path(), &[]);
    let site = dir.path().join("site");
    let to = site.display().to_string();
    let o = program(&["export", &run, "--web", &to, "--train"]);
    assert!(o.status.success(), "{}", text(&o));
    complete(&site, "train.html");
    let (page, bytes) = (
        json(&site, "train.json"),
        std::fs::read(site.join("train.bin")).unwrap(),
    );
    let plan = Portable::parse(&std::fs::read_to_string(site.join("plan.json")).unwrap()).unwrap();
    let gradient = plan.programs.iter().find(|p| p.name == "gradient").unwrap();
    for name in ["loss", "similarity", "score"] {
        assert!(gradient.outputs.iter().any(|t| t.name == name), "{name}");
    }
    assert!(
        gradient
            .inputs
            .iter()
            .any(|t| t.name == "samples" && t.dims == [32])
    );
    let steps = 2560 / 32;
    assert_eq!(span(&bytes, &page["blocks"]).len(), steps * 96);
    let mut order: Vec<u32> = span(&bytes, &page["proof"]["order"])
        .chunks(4)
        .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    order.sort_unstable();
    assert_eq!(order, (0..2560).collect::<Vec<u32>>());
    // The losses that it is compared with, and what gave them.
    let device = page["native"]["device"].as_str().unwrap();
    assert!(device.starts_with("CPU executor"), "{device}");
    let native: Vec<f64> = page["native"]["losses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect();
    assert_eq!(native.len(), 20);
    assert!(native.iter().all(|v| v.is_finite()) && native[0] != native[19]);
}

#[test]
fn what_no_page_can_do_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (i, (set, words)) in [
        (&["optim.micro_batches=2"][..], "optim.micro_batches"),
        (
            &[
                "method.name=mae",
                "amcl.enabled=false",
                "heads.count=1",
                "model.encoder=vit_tiny",
            ],
            "also draws",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let place = dir.path().join(i.to_string());
        std::fs::create_dir(&place).unwrap();
        let small = ["model.dim=24", "model.depth=1", "model.heads=3"];
        let vit = set.iter().any(|s| s.contains("vit"));
        let all: Vec<&str> = set
            .iter()
            .chain(small.iter().filter(|_| vit))
            .copied()
            .collect();
        let run = train(&place, &all);
        let site = place.join("site");
        let o = program(&[
            "export",
            &run,
            "--web",
            &site.display().to_string(),
            "--train",
        ]);
        assert!(
            !o.status.success() && text(&o).contains(words),
            "{}",
            text(&o)
        );
        assert!(!site.exists());
    }
    let o = program(&["export", "nowhere", "--web", "x", "--out", "y"]);
    assert!(!o.status.success());
    let o = program(&["export", "nowhere", "--out", "y", "--train"]);
    assert!(
        !o.status.success() && text(&o).contains("--web"),
        "{}",
        text(&o)
    );
}
