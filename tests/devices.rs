//! Backends by the environment, reports of `check`, and the reports that the documents keep.

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;

fn program(args: &[&str]) -> Command {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    c.args(args);
    c
}

/// Standard output, where the program succeeds, else standard error.
fn said(command: &mut Command) -> Result<String, String> {
    let out = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match out.status.success() {
        true => Ok(text(&out.stdout)),
        false => Err(text(&out.stderr)),
    }
}

#[test]
fn a_backend_that_does_not_exist_is_an_error_everywhere() {
    for args in [
        &["devices"][..],
        // `auto` takes the CPU executor where there is no GPU, not where the question was wrong.
        &["check", "--filter", "relu"],
        &["train", "--plan"],
    ] {
        let e = said(program(args).env("WGPU_BACKEND", "vulcan")).unwrap_err();
        let whole = e.contains("did you mean vulkan?") && e.contains("vulkan, metal, dx12, gl");
        assert!(whole && e.contains("WGPU_BACKEND"), "{args:?}: {e}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_backend_of_another_system_has_no_adapters() {
    let empty = said(program(&["devices"]).env("WGPU_BACKEND", "metal")).unwrap();
    assert!(!empty.contains("gpu:0") && empty.contains("cpu"), "{empty}");
    let args = ["check", "--device", "gpu", "--filter", "relu"];
    let e = said(program(&args).env("WGPU_BACKEND", "metal")).unwrap_err();
    assert!(e.contains("WGPU_BACKEND=metal"), "{e}");
    // The control: Vulkan's are there.
    let listed = said(program(&["devices"]).env("WGPU_BACKEND", "vulkan")).unwrap();
    assert!(
        listed.contains("gpu:0") && listed.contains(" vulkan,"),
        "{listed}"
    );
}

#[test]
fn check_writes_a_report_and_replaces_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    let check = |every: &str, more: &[&str]| {
        let mut c = program(&[
            "check", "--device", "cpu", "--filter", "relu", "--every", every,
        ]);
        c.arg("--report").arg(&file).args(more);
        said(&mut c)
    };
    std::fs::write(&file, "notes").unwrap();
    let e = check("3", &[]).unwrap_err();
    assert!(
        e.contains("already there") && e.contains("--overwrite"),
        "{e}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "notes");
    check("3", &["--overwrite"]).unwrap();
    let read =
        || -> Value { serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap() };
    let third = read();
    assert_eq!(third["format"], "amcl-wgpu check");
    assert_eq!(
        third["flags"],
        serde_json::json!(["--filter \"relu\"", "--every 3"])
    );
    assert_eq!(
        (&third["adapter"], &third["kernels"]),
        (&Value::Null, &"host".into())
    );
    let ran = third["passed"].as_u64().unwrap();
    let left = third["not_run"]["--every"].as_u64().unwrap();
    assert!(ran > 0 && left > ran && third["failed"] == 0, "{third}");
    // A report takes the place of a report.
    check("1", &[]).unwrap();
    let all = read();
    assert_eq!(all["passed"].as_u64(), Some(ran + left));
    assert!(
        all["not_run"].get("--every").is_none() && all["not_run"]["--filter"].as_u64() > Some(500)
    );
    assert_eq!(faults(&all), [""; 0]);
    // The control of what is asked of a report that is kept.
    let mut bad = all;
    bad["passed"] = 1.into();
    bad["failed"] = 1.into();
    bad["flags"] = serde_json::json!(["/home/me/driver"]);
    assert_eq!(faults(&bad).len(), 3, "{:?}", faults(&bad));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// What is wrong with a report as a document, be it the program's or the page's.
fn faults(report: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let count = |v: &Value| v.as_u64().unwrap_or(0);
    let cases: u64 = match &report["ops"] {
        Value::Object(ops) => ops.values().map(|op| count(&op["cases"])).sum(),
        Value::Array(ops) => ops
            .iter()
            .map(|op| count(&op["passed"]) + count(&op["failed"]))
            .sum(),
        _ => 0,
    };
    let (passed, failed) = (count(&report["passed"]), count(&report["failed"]));
    if passed == 0 || cases != passed + failed {
        out.push(format!(
            "{passed} passed, {failed} failed, but {cases} cases by op"
        ));
    }
    if report["failures"].as_array().map(Vec::len) != Some(failed as usize) {
        out.push("not every failure is named".into());
    }
    let text = report.to_string();
    for place in ["/home/", "/root/", "/tmp/", "/Users/", "\\\\Users"] {
        if text.contains(place) {
            out.push(format!("names a path of a machine: {place}"));
        }
    }
    out
}

/// Every report that is kept is one, gives no machine away, and is listed.
#[test]
fn kept_reports_are_whole_and_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results/devices");
    let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut kept = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let format = report["format"].as_str().unwrap();
        let known = ["amcl-wgpu check", "amcl-wgpu check in a browser"];
        assert!(known.contains(&format), "{}", path.display());
        assert_eq!(faults(&report), [""; 0], "{}", path.display());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            index.contains(&format!("`{name}`")),
            "README.md does not list {name}"
        );
        kept += 1;
    }
    assert!(kept > 0);
}
