//! What a run gives away and shows: export, embeddings, preview, report, lists and downloads.

use assert_cmd::Command;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

fn program() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"))
}

fn json(args: &[&str]) -> Value {
    let o = program().arg("--json").args(args).output().unwrap();
    assert!(
        o.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&o.stderr)
    );
    serde_json::from_slice(&o.stdout).unwrap()
}

/// One run for all tests.
fn run() -> &'static str {
    static RUN: OnceLock<String> = OnceLock::new();
    RUN.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("product-run");
        let path = out.to_str().unwrap().to_string();
        let _ = std::fs::remove_dir_all(&out);
        let sets = [
            "data.shapes_train=128",
            "data.shapes_test=60",
            "model.width=4",
            "heads.hidden=8",
            "heads.out=8",
            "run.knn_every=1",
        ];
        let mut args = vec![
            "train",
            "--device",
            "cpu",
            "--epochs",
            "3",
            "--batch-size",
            "32",
            "--out",
            &path,
        ];
        sets.iter().for_each(|s| args.extend(["--set", s]));
        json(&args);
        path
    })
}

fn temporary() -> (tempfile::TempDir, impl Fn(&str) -> String) {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().to_path_buf();
    (dir, move |name: &str| {
        base.join(name).to_str().unwrap().to_string()
    })
}

#[test]
fn the_run_folder_is_complete() {
    let run = Path::new(run());
    for name in [
        "config.toml",
        "metrics.jsonl",
        "metrics.csv",
        "summary.json",
        "log.txt",
        "report.html",
        "checkpoints",
    ] {
        assert!(run.join(name).exists(), "{name}");
    }
    let csv = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!((rows.len(), rows[0].split(',').count()), (4, 9), "{csv}");
    assert!(
        rows[3].starts_with("3,12,")
            && rows[1..]
                .iter()
                .all(|r| r.split(',').all(|c| !c.is_empty())),
        "{csv}"
    );
}

#[test]
fn exports_start_a_run_where_the_other_ended() {
    let (_dir, at) = temporary();
    let out = at("exported");
    let v = json(&["export", run(), "-o", &out]);
    assert_eq!(v["files"].as_array().unwrap().len(), 4);
    let config: Value =
        serde_json::from_slice(&std::fs::read(at("exported/config.json")).unwrap()).unwrap();
    assert_eq!(
        (
            config["num_features"].as_u64(),
            config["num_classes"].as_u64()
        ),
        (Some(16), Some(0))
    );
    let bytes = std::fs::read(at("exported/model.safetensors")).unwrap();
    let st = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(
        st.tensor("layer2.0.downsample.0.weight").unwrap().shape(),
        [8, 4, 1, 1]
    );
    assert!(
        st.names()
            .iter()
            .all(|n| !n.contains("head") && !n.contains("phi"))
    );
    let mut args = vec![
        "train",
        "--device",
        "cpu",
        "--no-report",
        "--epochs",
        "1",
        "--batch-size",
        "32",
        "--init",
        &out,
    ];
    let again = at("again");
    args.extend(["--out", &again]);
    let sets = [
        "data.shapes_train=128",
        "data.shapes_test=60",
        "model.width=4",
        "heads.hidden=8",
        "heads.out=8",
        "optim.lr=1e-9",
    ];
    sets.iter().for_each(|s| args.extend(["--set", s]));
    let summary: Value =
        serde_json::from_slice(&std::fs::read(Path::new(run()).join("summary.json")).unwrap())
            .unwrap();
    assert_eq!(json(&args)["knn_top1_untrained"], summary["knn_top1"]);
    // An encoder of another depth takes what fits, and says what did not.
    let deep = at("deep");
    let place = args.iter().position(|a| *a == again).unwrap();
    args[place] = &deep;
    args.extend(["--set", "model.encoder=resnet18"]);
    json(&args);
    let log = std::fs::read_to_string(at("deep/log.txt")).unwrap();
    let line = log
        .lines()
        .find(|l| l.starts_with("weights from "))
        .unwrap();
    let count = |after: &str| -> usize {
        let rest = line.split(after).nth(1).unwrap().trim_start();
        rest.split(' ').next().unwrap().parse().unwrap_or(0)
    };
    let loaded = count("exported:");
    let missing = count("not in the file:");
    assert!(loaded > 10 && missing > loaded, "{line}");
    assert!(line.contains("of another shape: none"), "{line}");
}

#[test]
fn embeddings_are_the_same_in_every_form() {
    let (_dir, at) = temporary();
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for form in ["npy", "safetensors", "csv", "parquet"] {
        let file = at(&format!("{form}.{form}"));
        let v = json(&[
            "embed",
            run(),
            "--device",
            "cpu",
            "--split",
            "test",
            "-o",
            &file,
        ]);
        assert_eq!(
            (v["rows"].as_u64(), v["dim"].as_u64()),
            (Some(60), Some(16))
        );
        let bytes = std::fs::read(&file).unwrap();
        rows.push(match form {
            "npy" => {
                let names = std::fs::read_to_string(at("npy.csv")).unwrap();
                assert!(names.starts_with("filename,label\ntest/0,"), "{names}");
                npyz::NpyFile::new(&bytes[..])
                    .unwrap()
                    .into_vec::<f32>()
                    .unwrap()
            }
            "safetensors" => {
                let st = safetensors::SafeTensors::deserialize(&bytes).unwrap();
                bytemuck::pod_collect_to_vec(st.tensor("features").unwrap().data())
            }
            "csv" => {
                let mut r = csv::Reader::from_reader(&bytes[..]);
                assert_eq!(r.headers().unwrap().len(), 18);
                r.records()
                    .flat_map(|r| {
                        let r = r.unwrap();
                        (1..17)
                            .map(|i| r[i].parse::<f32>().unwrap())
                            .collect::<Vec<_>>()
                    })
                    .collect()
            }
            _ => {
                use parquet::file::reader::{FileReader, SerializedFileReader};
                let r = SerializedFileReader::new(std::fs::File::open(&file).unwrap()).unwrap();
                r.get_row_iter(None)
                    .unwrap()
                    .flat_map(|row| {
                        use parquet::record::RowAccessor;
                        let row = row.unwrap();
                        assert!(row.get_string(0).unwrap().starts_with("test/"));
                        (1..17)
                            .map(|i| row.get_float(i).unwrap())
                            .collect::<Vec<_>>()
                    })
                    .collect()
            }
        });
    }
    assert!(rows.iter().all(|r| r.len() == 960 && *r == rows[0]));
    assert!(rows[0].iter().any(|v| *v != rows[0][0]));
}

#[test]
fn a_preview_shows_and_tells() {
    let (_dir, at) = temporary();
    let file = at("sheet.png");
    let v = json(&[
        "preview",
        "-o",
        &file,
        "--count",
        "5",
        "--set",
        "augment.families=abcde",
    ]);
    assert_eq!(v["rows"].as_array().unwrap().len(), 5);
    let image = image::open(&file).unwrap();
    assert_eq!((image.width(), image.height()), (3 * 96 + 16, 5 * 100 + 4));
}

#[test]
fn a_preview_shows_what_an_encoder_does_not_see() {
    let (_dir, at) = temporary();
    let file = at("masks.png");
    let small = [
        "--preset",
        "mae-cifar10",
        "--data",
        "shapes",
        "--count",
        "3",
    ];
    let v = json(&[&["preview", "-o", &file][..], &small].concat());
    assert_eq!((&v["visible"], &v["patches"]), (&16.into(), &64.into()));
    assert_eq!(v["columns"], serde_json::json!(["masked", "original"]));
    let image = image::open(&file).unwrap().to_rgb8();
    assert_eq!((image.width(), image.height()), (2 * 96 + 12, 3 * 100 + 4));
    // 4 pixels of a patch, each three times as large; grey patches are 48 of 64, the others those of the image.
    let mut hidden = 0;
    for patch in 0..64 {
        let (y, x) = (4 + patch / 8 * 12 + 6, 4 + patch % 8 * 12 + 6);
        let of = |column: u32| *image.get_pixel(column * 100 + x, y);
        match of(0) == image::Rgb([128; 3]) {
            true => hidden += 1,
            false => assert_eq!(of(0), of(1), "patch {patch}"),
        }
    }
    assert_eq!(hidden, 48);
}

#[test]
fn the_report_asks_nothing_of_anyone() {
    let (_dir, at) = temporary();
    let page = std::fs::read_to_string(Path::new(run()).join("report.html")).unwrap();
    for part in [
        "id=\"curves\"",
        "id=\"temperatures\"",
        "overlap",
        "Backbone",
        "data:image/png;base64,",
        "Confusion",
        "Overlap of positive and negative pairs",
        "id=\"environment\"",
        "id=\"memory\"",
        "Largest tensors of a training step",
        "compiling kernels, sending the data",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // What happened and what to do next, in words.
    for part in [
        "The run went to its end: 3 epochs",
        "with random weights",
        "amcl-wgpu export ",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for request in ["http://", "https://", "<script", "<link", "@import", "url("] {
        assert!(!page.contains(request), "{request}");
    }
    assert!(
        !page.contains("http-equiv=\"refresh\""),
        "the run has ended"
    );
    // Under way: no summary yet.
    let copy = PathBuf::from(at("copy"));
    std::fs::create_dir(&copy).unwrap();
    for name in ["config.toml", "metrics.jsonl", "log.txt"] {
        std::fs::copy(Path::new(run()).join(name), copy.join(name)).unwrap();
    }
    json(&["report", "--curves", copy.to_str().unwrap()]);
    let page = std::fs::read_to_string(copy.join("report.html")).unwrap();
    assert!(page.contains("http-equiv=\"refresh\"") && page.contains("id=\"curves\""));
    // Stopped: nothing more will come by itself.
    let log = copy.join("log.txt");
    let text = std::fs::read_to_string(&log).unwrap();
    let stop = "stopped at epoch 2, batch 1; continue with: amcl-wgpu train --resume copy\n";
    std::fs::write(&log, text + stop).unwrap();
    json(&["report", "--curves", copy.to_str().unwrap()]);
    let page = std::fs::read_to_string(copy.join("report.html")).unwrap();
    assert!(
        !page.contains("http-equiv=\"refresh\"")
            && page.contains("The run was stopped after 3 of 3 epochs")
    );
}

/// Two runs on one page: their numbers, the settings that differ and no others, a curve of each, links that lead to
/// their reports. What is there already and no page of this program stays.
#[test]
fn runs_lie_side_by_side() {
    let (dir, at) = temporary();
    for (copy, from, to) in [("a", "", ""), ("b", "lr = 0.12", "lr = 0.5")] {
        let copy = PathBuf::from(at(copy));
        std::fs::create_dir(&copy).unwrap();
        for name in [
            "config.toml",
            "metrics.jsonl",
            "log.txt",
            "summary.json",
            "report.html",
        ] {
            let text = std::fs::read_to_string(Path::new(run()).join(name)).unwrap();
            let text = if name == "config.toml" && !from.is_empty() {
                assert!(text.contains(from), "{text}");
                text.replace(from, to)
            } else {
                text
            };
            std::fs::write(copy.join(name), text).unwrap();
        }
    }
    let written = json(&["report", &at("a"), &at("b")])["file"].clone();
    let path = PathBuf::from(written.as_str().unwrap());
    assert_eq!(path, dir.path().join("comparison.html"));
    let page = std::fs::read_to_string(&path).unwrap();
    for part in [
        "2 runs side by side",
        "href=\"a/report.html\"",
        "href=\"b/report.html\"",
        "optim.lr",
        "<td>0.5</td>",
        "3 / 3",
        "line c1",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("optim.batch_size"), "it is the same in both");
    for request in ["http://", "https://", "<script", "<link", "@import", "url("] {
        assert!(!page.contains(request), "{request}");
    }
    // Again, over its own page; but not over another's.
    json(&["report", &at("a"), &at("b")]);
    std::fs::write(at("mine.html"), "mine").unwrap();
    let (a, b, mine) = (at("a"), at("b"), at("mine.html"));
    let args = ["report", &a, &b, "--out", &mine];
    let refused = program().args(args).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--overwrite"));
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
    json(&[&args[..], &["--overwrite"]].concat());
    assert!(
        std::fs::read_to_string(&mine)
            .unwrap()
            .contains("side by side")
    );
}

#[test]
fn presets_are_listed_and_printed() {
    let all = json(&["presets"]);
    let names: Vec<&str> = all["presets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    for method in ["simclr", "moco", "simsiam", "barlow"] {
        for data in ["cifar10", "cifar100", "stl10"] {
            for form in [format!("{method}-{data}"), format!("{method}-amcl-{data}")] {
                assert!(names.contains(&form.as_str()), "{form}");
                let one = json(&["presets", &form]);
                let text = one["toml"].as_str().unwrap();
                // The first line names where the recipe is from.
                assert!(
                    text.starts_with("# ")
                        && text.lines().next().unwrap().contains("contrastive2021"),
                    "{form}"
                );
            }
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::Stdio;
    for args in [
        &["presets"][..],
        &["devices"],
        &["completions", "bash"],
        &["data", "inspect", "shapes"],
    ] {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let o = child.wait_with_output().unwrap();
        let e = String::from_utf8_lossy(&o.stderr);
        assert!(
            o.status.success() && !e.contains("panicked"),
            "{args:?}: {e}"
        );
    }
}

fn paint(path: &Path, grey: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(8, 8, image::Rgb([grey; 3]))
        .save(path)
        .unwrap();
}

#[test]
fn csv_lists_are_read_and_their_mistakes_named() {
    let (dir, at) = temporary();
    for i in 0..6u8 {
        paint(&dir.path().join(format!("pictures/{i}.png")), i * 40);
    }
    let list = at("list.csv");
    std::fs::write(&list, "label,path,split\ncat,pictures/0.png,train\ndog, pictures/1.png ,train\ncat,pictures/2.png,test\n\"dog\",pictures/3.png,val\ndog,pictures/9.png,train\n").unwrap();
    let v = json(&["data", "inspect", &list, "--size", "8"]);
    assert_eq!(
        (v["train"].as_u64(), v["test"].as_u64()),
        (Some(2), Some(2)),
        "{v}"
    );
    assert_eq!(v["classes"][1]["name"], "dog");
    assert!(v["warnings"][0].as_str().unwrap().contains("9.png"));
    // Without a head: path, label.
    std::fs::write(&list, "pictures/0.png,a\npictures/1.png,b\n").unwrap();
    assert_eq!(json(&["data", "inspect", &list])["train"], 2);
    for (text, word) in [
        ("pictures/0.png,a\npictures/1.png,\n", "some have none"),
        ("nothing.png\n", "no training image in line 1"),
        (",a\n", "names no file"),
        ("pictures/0.png,a,trian\n", "split is `trian`"),
        ("", "the list is empty"),
    ] {
        std::fs::write(&list, text).unwrap();
        let o = program().args(["data", "inspect", &list]).output().unwrap();
        let e = String::from_utf8_lossy(&o.stderr);
        assert!(!o.status.success() && e.contains(word), "{text:?}: {e}");
    }
    let other = at("list.txt");
    std::fs::write(&other, "x").unwrap();
    let o = program()
        .args(["data", "inspect", &other])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&o.stderr).contains("no CSV list"));
}

/// Serves `content`; the first connection breaks off after `cut` bytes.
fn serve(content: Vec<u8>, cut: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/set.tar.gz", listener.local_addr().unwrap());
    let resumed = Arc::new(AtomicUsize::new(0));
    let from = resumed.clone();
    std::thread::spawn(move || {
        for (i, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let start = head
                .split("range: bytes=")
                .nth(1)
                .and_then(|r| r.split('-').next()?.parse::<usize>().ok())
                .unwrap_or(0);
            from.store(start, Ordering::SeqCst);
            let status = if start > 0 {
                "206 Partial Content"
            } else {
                "200 OK"
            };
            let rest = &content[start..];
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                rest.len()
            );
            let end = if i == 0 {
                cut.min(rest.len())
            } else {
                rest.len()
            };
            let _ = stream.write_all(&rest[..end]);
        }
    });
    (url, resumed)
}

#[test]
fn downloads_go_on_where_they_broke_off() {
    use md5::Digest;
    let (_dir, at) = temporary();
    let content: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect();
    let sum: String = md5::Md5::digest(&content)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let (url, resumed) = serve(content.clone(), 100_000);
    let out = at("sets");
    let fetch = |md5: &str, out: &str| {
        program()
            .args([
                "data", "download", "cifar10", "--url", &url, "--md5", md5, "-o", out,
            ])
            .output()
            .unwrap()
    };
    let first = fetch(&sum, &out);
    let e = String::from_utf8_lossy(&first.stderr);
    assert!(
        !first.status.success() && e.contains("goes on where this stopped"),
        "{e}"
    );
    let part = std::fs::metadata(at("sets/set.tar.gz.part")).unwrap().len();
    assert!(part > 0 && part <= 100_000);
    let second = fetch(&sum, &out);
    assert!(
        second.status.success(),
        "{}",
        String::from_utf8_lossy(&second.stderr)
    );
    assert_eq!(resumed.load(Ordering::SeqCst) as u64, part);
    assert_eq!(std::fs::read(at("sets/set.tar.gz")).unwrap(), content);
    // Several files: another address is that of their folder.
    let base = url.rsplit_once('/').unwrap().0;
    let many = program()
        .args([
            "data",
            "download",
            "mnist",
            "--url",
            base,
            "-o",
            &at("many"),
        ])
        .output()
        .unwrap();
    let e = String::from_utf8_lossy(&many.stderr);
    assert!(
        !many.status.success()
            && e.contains(&format!("{base}/train-images-idx3-ubyte.gz: its MD5 is")),
        "{e}"
    );
    // There already: nothing is fetched. A wrong sum: nothing is kept.
    assert!(fetch(&sum, &out).status.success());
    let wrong = fetch(&"0".repeat(32), &at("other"));
    let e = String::from_utf8_lossy(&wrong.stderr);
    assert!(
        !wrong.status.success()
            && e.contains("its MD5 is")
            && std::fs::read_dir(at("other")).unwrap().count() == 0,
        "{e}"
    );
}
