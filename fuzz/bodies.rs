//! What each fuzz target does with any bytes; `tests/corpus.rs` does the same with the kept ones.
#![allow(dead_code, missing_docs, reason = "each target uses one of these")]

use amcl_wgpu::config::Config;
use amcl_wgpu::data::pack::{Packing, Records, pack as pack_images};
use amcl_wgpu::data::{Keeping, Reading, Request, cifar, idx, open, stl10};
use amcl_wgpu::device::Choice;
use amcl_wgpu::experiment::{Experiment, Sweep};
use amcl_wgpu::graph::state::Group;
use amcl_wgpu::graph::{States, TensorType};
use amcl_wgpu::methods::loss_file::LossFile;
use amcl_wgpu::nn::model::PARAMS;
use amcl_wgpu::report;
use amcl_wgpu::run::checkpoint::{Groups, Position, pack, read_latest};
use amcl_wgpu::run::folder::{RunFolder, previous_untrained};
use amcl_wgpu::run::weights;
use safetensors::Dtype;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

/// A folder of this process's own.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap().keep())
}

/// A CIFAR batch: the first byte chooses CIFAR-10 or CIFAR-100.
pub fn cifar(data: &[u8]) {
    let (ten, rest) = data
        .split_first()
        .map_or((true, data), |(b, r)| (b % 2 == 0, r));
    let train = if ten { "data_batch_1.bin" } else { "train.bin" };
    let test = if ten { "test_batch.bin" } else { "test.bin" };
    let names = [train.to_string(), test.to_string()];
    for n in &names {
        std::fs::write(folder().join(n), rest).unwrap();
    }
    if let Ok(s) = cifar::open(folder(), &names) {
        assert_eq!(s.train.len(), s.train.labels.len());
        let known = |l: &u32| (*l as usize) < s.classes.len();
        assert!(s.train.labels.iter().all(known));
    }
}

/// STL-10's labels and folds beside three images, or its images.
pub fn stl10(data: &[u8]) {
    const IMAGE: usize = 96 * 96 * 3;
    let (mode, rest) = data.split_first().map_or((0, data), |(b, r)| (*b, r));
    let (labels, folds) = rest.split_at(rest.len().min(3));
    let images = if mode % 4 == 0 {
        rest.to_vec()
    } else {
        vec![7; 3 * IMAGE]
    };
    std::fs::write(folder().join("train_X.bin"), images).unwrap();
    std::fs::write(folder().join("train_y.bin"), labels).unwrap();
    std::fs::write(folder().join("fold_indices.txt"), folds).unwrap();
    let names = ["train_X.bin".to_string(), "train_y.bin".to_string()];
    let r = Request {
        path: "",
        seed: 0,
        shapes: (0, 0),
        stored_size: 96,
        unlabeled: false,
        fold: Some(usize::from(mode / 16)),
        reading: Reading::default(),
        list: None,
        keeping: Keeping::default(),
        progress: &|_, _| (),
    };
    if let Ok(s) = stl10::open(&r, folder(), &names) {
        assert_eq!(s.train.len(), s.train.labels.len());
        assert!(s.train.labels.iter().all(|l| *l < 10));
    }
}

/// An IDX file of images and one of labels; the first byte says where one ends.
pub fn idx(data: &[u8]) {
    let (at, rest) = data
        .split_first()
        .map_or((0, data), |(b, r)| (usize::from(*b), r));
    let (labels, images) = rest.split_at(at.min(rest.len()));
    let names = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"].map(String::from);
    std::fs::write(folder().join(&names[0]), images).unwrap();
    std::fs::write(folder().join(&names[1]), labels).unwrap();
    if let Ok(s) = idx::open(folder(), &names) {
        assert!(s.train.len() == s.train.labels.len() && !s.train.is_empty());
        let known = |l: &u32| (*l as usize) < s.classes.len();
        assert!(s.train.labels.iter().all(known));
    }
}

/// A safetensors file: of weights, and of a loss with its inputs.
pub fn weights(data: &[u8]) {
    if let Ok(named) = weights::parse(data) {
        let whole = |w: &amcl_wgpu::nn::import::Weights| {
            w.shape.iter().product::<usize>() == w.values.len()
        };
        assert!(named.values().all(whole));
    }
    let _ = LossFile::parse(data);
}

/// A configuration, its first line an override: what is accepted must resolve to itself.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (over, text) = text.split_once('\n').unwrap_or(("", text));
    if let Ok(c) = Config::parse(text, &[over.to_string()]) {
        let _ = c.to_toml();
    }
    if let Ok(c) = Config::parse(text, &[]) {
        let again = Config::parse(&c.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(format!("{c:?}"), format!("{again:?}"));
    }
}

/// The states of a small model.
fn states() -> States {
    const CONTROL: Group = Group::saved("control");
    let mut states = States::new();
    states.add(PARAMS, "w", TensorType::f32([70]));
    states.add(CONTROL, "halt", TensorType::u32([1]));
    states
}

/// Reads these bytes as the only checkpoint of a folder.
fn only(data: &[u8]) -> Option<(Groups, Position)> {
    let file = folder().join("step-00000001.safetensors");
    std::fs::write(&file, data).unwrap();
    let found = read_latest(folder(), &states(), &[], |_| ()).ok();
    std::fs::remove_file(file).unwrap();
    found
}

/// A checkpoint of a small model.
pub fn checkpoint(data: &[u8]) {
    if let Some((groups, _)) = only(data) {
        assert_eq!(groups.len(), 2);
    }
}

/// The header of a checkpoint, under a checksum that is right: lines `key=value` of what it says of the run, after
/// three bytes that choose a bit and the length of a state. With that bit turned it must be refused, or say the same.
pub fn header(data: &[u8]) {
    let Some((&[high, low, len], rest)) = data.split_first_chunk() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    let pairs = text.lines().filter_map(|l| l.split_once('='));
    let about = pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let len = usize::from(len);
    let w = (PARAMS.name(), Dtype::F32, vec![len], vec![1; 4 * len]);
    let halt = ("control".to_string(), Dtype::U32, vec![1], vec![0; 4]);
    let mut bytes = pack(about, &[w, halt]).unwrap();
    let whole = only(&bytes);
    assert!(len == 70 || whole.is_none());
    let bit = usize::from(u16::from_be_bytes([high, low])) % (8 * bytes.len());
    bytes[bit / 8] ^= 1 << (bit % 8);
    if let Some((_, at)) = only(&bytes) {
        assert_eq!(Some(at), whole.map(|w| w.1));
    }
}

/// A CSV list beside two images.
pub fn list(data: &[u8]) {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    let file = folder().join("list.csv");
    let config = CONFIG.get_or_init(|| {
        for (name, grey) in [("a.png", 10), ("b.png", 200)] {
            let image = image::RgbImage::from_pixel(2, 2, image::Rgb([grey; 3]));
            image.save(folder().join(name)).unwrap();
        }
        let path = toml::Value::String(file.display().to_string());
        Config::parse(
            "",
            &[format!("data.path={path}"), "data.stored_size=8".into()],
        )
        .unwrap()
    });
    // Names that lead out of the folder would read this machine's files.
    if data.contains(&b'/') {
        return;
    }
    std::fs::write(&file, data).unwrap();
    if let Ok(s) = config.open_data(&|_, _| ()) {
        assert!(!s.train.is_empty());
        for part in [&s.train, &s.test] {
            assert!(part.labels.is_empty() || part.labels.len() == part.len());
            let known = |l: &u32| (*l as usize) < s.classes.len();
            assert!(part.labels.iter().all(known));
        }
    }
}

/// An experiment file: what is accepted is planned, each training with a folder of its own.
pub fn experiment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(experiment) = Experiment::parse(text) else {
        return;
    };
    let Ok(experiment) = experiment.on(None) else {
        return;
    };
    // At least one number of each measure.
    let columns = experiment.eval.len();
    if let Ok(sweep) = Sweep::new(experiment, &[], folder(), Choice::Cpu) {
        let mut folders: Vec<_> = sweep.trials.iter().map(|t| &t.folder).collect();
        folders.sort();
        folders.dedup();
        assert!(folders.len() == sweep.trials.len() && !folders.is_empty());
        assert!(sweep.table().columns.len() >= columns);
    }
}

/// The records of a run: drawn as a page, and cut where the run goes on from its second step.
pub fn metrics(data: &[u8]) {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        let run = folder().join("run");
        std::fs::create_dir(&run).unwrap();
        std::fs::write(run.join("config.toml"), "version = 2\n").unwrap();
        run
    });
    let file = run.join("metrics.jsonl");
    std::fs::write(&file, data).unwrap();
    report::write(run, None).unwrap();
    let _ = previous_untrained(run);
    let mut open = RunFolder::open(run).unwrap();
    let at = Position {
        epoch: 1,
        batch: 0,
        step: 2,
    };
    open.truncate(at).unwrap();
    for line in std::fs::read_to_string(&file).unwrap().lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(record["step"].as_u64().unwrap() <= 2);
    }
    drop(open);
    for e in std::fs::read_dir(run).unwrap().flatten() {
        if e.file_name().to_string_lossy().starts_with("events.") {
            std::fs::remove_file(e.path()).unwrap();
        }
    }
}

/// Opens a set in this file without reading its images, and looks at what was found. One image is read.
fn opened(file: &std::path::Path) {
    let path = toml::Value::String(file.display().to_string());
    let set = [
        format!("data.path={path}"),
        "data.memory_mib=0".into(),
        "data.stored_size=8".into(),
    ];
    let config = Config::parse("", &set).unwrap();
    if let Ok(s) = config.open_data(&|_, _| ()) {
        assert!(!s.train.is_empty());
        for part in [&s.train, &s.test] {
            assert!(part.labels.is_empty() || part.labels.len() == part.len());
            assert_eq!(part.names.len(), part.len());
            let known = |l: &u32| (*l as usize) < s.classes.len();
            assert!(part.labels.iter().all(known));
        }
        let _ = s.train.image(0);
    }
}

/// A tar file; where the first byte is odd, the index that was kept of one, under a sum that is right.
pub fn tar_index(data: &[u8]) {
    let (kept, rest) = data
        .split_first()
        .map_or((false, data), |(b, r)| (b % 2 == 1, r));
    let file = folder().join("own.tar");
    let beside = folder().join("own.tar.index");
    let _ = std::fs::remove_file(&beside);
    if kept {
        std::fs::write(&file, [0; 2048]).unwrap();
        let about = std::fs::metadata(&file).unwrap();
        let since = about
            .modified()
            .unwrap()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let sum = crc32c::crc32c(rest);
        let head = format!(
            "amcl-wgpu tar index 1 2048 {} {sum:08x}\n",
            since.as_nanos()
        );
        std::fs::write(&beside, [head.as_bytes(), rest].concat()).unwrap();
    } else {
        std::fs::write(&file, rest).unwrap();
    }
    opened(&file);
}

/// A parquet file.
pub fn parquet(data: &[u8]) {
    let file = folder().join("own.parquet");
    std::fs::write(&file, data).unwrap();
    opened(&file);
}

/// A packed set of two images whose shard ends in these bytes, under a checksum that is right, after a byte that says
/// what else they are: the whole shard, or the index.
pub fn packed(data: &[u8]) {
    static SET: OnceLock<(PathBuf, Vec<u8>)> = OnceLock::new();
    fn request(path: &str) -> Request<'_> {
        Request {
            path,
            seed: 0,
            shapes: (0, 0),
            stored_size: 2,
            unlabeled: false,
            fold: None,
            reading: Reading::default(),
            list: None,
            keeping: Keeping::default(),
            progress: &|_, _| (),
        }
    }
    let (set, shard) = SET.get_or_init(|| {
        let (from, out) = (folder().join("unpacked"), folder().join("packed"));
        std::fs::create_dir(&from).unwrap();
        for (name, grey) in [("a.png", 10), ("b.png", 200)] {
            let image = image::RgbImage::from_pixel(2, 2, image::Rgb([grey; 3]));
            image.save(from.join(name)).unwrap();
        }
        let packing = Packing {
            data: request(from.to_str().unwrap()),
            out: &out,
            records: Records::Raw,
            shuffle: None,
            shard_mib: 1,
            stop: &AtomicBool::new(false),
        };
        assert_eq!(pack_images(&packing).unwrap().images, 2);
        let shard = std::fs::read(out.join("shard-00000.pack")).unwrap();
        (out, shard)
    });
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let (at, index) = (set.join("shard-00000.pack"), set.join("pack.json"));
    let whole = std::fs::read_to_string(&index).unwrap();
    match kind % 4 {
        0 => std::fs::write(&at, rest).unwrap(),
        1 => std::fs::write(&index, rest).unwrap(),
        _ => {
            // Two records of twelve bytes behind the header.
            let mut bytes = shard[..4096 + 24].to_vec();
            bytes.extend(rest);
            bytes.extend((rest.len() as u64).to_le_bytes());
            bytes.extend(crc32c::crc32c(rest).to_le_bytes());
            bytes.extend(b"AMCLPACK");
            let known =
                |bytes: usize, crc: u32| format!("\"bytes\": {bytes},\n      \"footer\": {crc}\n");
            let crc = u32::from_le_bytes(shard[shard.len() - 12..][..4].try_into().unwrap());
            let (old, new) = (
                known(shard.len(), crc),
                known(bytes.len(), crc32c::crc32c(rest)),
            );
            assert!(whole.contains(&old));
            let text = whole.replace(&old, &new);
            let (front, sum) = text.rsplit_once("\"checksum\": \"").unwrap();
            let bare = |sum: &str| format!("{front}\"checksum\": \"{sum}\"\n}}\n");
            assert_eq!(sum.len(), "01234567\"\n}\n".len());
            let sum = format!("{:08x}", crc32c::crc32c(bare("").as_bytes()));
            std::fs::write(&at, bytes).unwrap();
            std::fs::write(&index, bare(&sum)).unwrap();
        }
    }
    if let Ok(s) = open(&request(set.to_str().unwrap())) {
        assert!(!s.train.is_empty() && s.train.len() == s.train.names.len());
        assert_eq!(s.train.images.len(), 12 * s.train.len());
    }
    std::fs::write(&at, shard).unwrap();
    std::fs::write(&index, whole).unwrap();
}
