//! What a damaged, unreadable or older checkpoint does.

use super::*;
use crate::graph::host::HostExecutor;
use crate::graph::{StateId, TensorType};

const CONFIG: &str = "[run]\nseed = 7\n";

fn at(step: usize) -> Position {
    Position {
        epoch: 0,
        batch: step,
        step,
    }
}

/// A model of 70 numbers.
fn model() -> (States, StateId, HostExecutor<f32>) {
    let mut states = States::new();
    let id = states.add(PARAMS, "w", TensorType::f32([70]));
    let mut exec = HostExecutor::<f32>::new();
    exec.allocate_states(&states).unwrap();
    (states, id, exec)
}

/// Checkpoints after the steps 1 to 3, of which the newest two are kept; the numbers are those of the steps.
fn saved(dir: &Path) -> (States, StateId, HostExecutor<f32>, Vec<PathBuf>) {
    let (states, id, mut exec) = model();
    let mut paths = Vec::new();
    for step in 1..=3 {
        let values = HostData::F32(vec![step as f32; 70]);
        exec.write_state(&states, id, &values).unwrap();
        paths.push(save(dir, &mut exec, &states, at(step), CONFIG).unwrap());
    }
    assert_eq!(list(dir).unwrap(), paths[1..], "the oldest is removed");
    (states, id, exec, paths)
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (states, id, mut exec, paths) = saved(dir.path());
    let mut bytes = std::fs::read(&paths[2]).unwrap();
    let n = bytes.len();
    bytes[n - 300] ^= 1;
    std::fs::write(&paths[2], bytes).unwrap();
    let mut warnings = Vec::new();
    let at = load_latest(dir.path(), &mut exec, &states, |w| warnings.push(w)).unwrap();
    assert_eq!((at.step, warnings.len()), (2, 1));
    for words in [
        "step-00000003",
        "checksum",
        "using the checkpoint before it, step-00000002",
    ] {
        assert!(warnings[0].contains(words), "{warnings:?}");
    }
    let values = exec.read_state(&states, id).unwrap().to_f32();
    assert_eq!(values, vec![2.0; 70]);
}

#[test]
fn a_checkpoint_that_cannot_be_read_falls_back_too() {
    let dir = tempfile::tempdir().unwrap();
    let (states, _, _, paths) = saved(dir.path());
    // A folder of that name cannot be read as a file, not even by root.
    std::fs::remove_file(&paths[2]).unwrap();
    std::fs::create_dir(&paths[2]).unwrap();
    let mut warnings = Vec::new();
    let (_, at) = read_latest(dir.path(), &states, &[], |w| warnings.push(w)).unwrap();
    assert_eq!((at.step, warnings.len()), (2, 1));
    assert!(warnings[0].contains("step-00000003"), "{warnings:?}");
    // Where none is left, the error says why of each.
    std::fs::write(&paths[1], b"").unwrap();
    let e = read_latest(dir.path(), &states, &[], |w| panic!("{w}")).unwrap_err();
    let text = e.to_string();
    for words in ["no usable checkpoint", "step-00000002", "step-00000003"] {
        assert!(text.contains(words), "{text}");
    }
}

/// Every single bit: the header's length, what it says of the run, names, shapes and values.
#[test]
fn no_bit_of_a_checkpoint_can_turn_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let (states, _, _, paths) = saved(dir.path());
    let bytes = std::fs::read(&paths[2]).unwrap();
    assert_eq!(parse(&bytes, &states, &[]).unwrap().1, at(3));
    for bit in 0..8 * bytes.len() {
        let mut turned = bytes.clone();
        turned[bit / 8] ^= 1 << (bit % 8);
        let read = parse(&turned, &states, &[]);
        assert!(read.is_err(), "bit {bit} turned: {:?}", read.map(|r| r.1));
    }
}

/// Numbers of the model as they are stored: entries end at multiples of 64.
const LEN: usize = 128;

/// The bytes as older programs wrote them: the checksum is of the values alone.
fn older(step: &str) -> Vec<u8> {
    let values: Vec<u8> = [2.0f32; LEN].iter().flat_map(|v| v.to_le_bytes()).collect();
    let sum = hex(&Sha256::digest(&values));
    let about = [
        ("epoch", "0"),
        ("batch", step),
        ("step", step),
        ("config", CONFIG),
        ("sha256", sum.as_str()),
    ];
    let about = about.map(|(k, v)| (k.to_string(), v.to_string()));
    let view = TensorView::new(Dtype::F32, vec![LEN], &values).unwrap();
    safetensors::serialize([(PARAMS.name(), view)], Some(about.into())).unwrap()
}

#[test]
fn checkpoints_of_older_programs_are_read() {
    let (states, ..) = model();
    let bytes = older("2");
    assert_eq!(parse(&bytes, &states, &[]).unwrap().1, at(2));
    // The control: their values are protected, and a file without any checksum is none.
    let mut turned = bytes.clone();
    let n = turned.len();
    turned[n - 1] ^= 1;
    assert!(parse(&turned, &states, &[]).is_err());
    let place = bytes.windows(6).position(|w| w == b"sha256").unwrap();
    let mut none = bytes;
    none[place..place + 6].copy_from_slice(b"other_");
    let e = parse(&none, &states, &[]).unwrap_err().to_string();
    assert!(e.contains("checksum"), "{e}");
}
