//! `amcl-wgpu devices`: adapters, drivers, limits, what `auto` uses and why.

use super::console::OutputOptions;
use amcl_wgpu::device::{list_adapters, none_found};
use amcl_wgpu::graph::plan::mebibytes;

/// Lists the adapters of this machine.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs the verb.
///
/// # Errors
/// A wrong name in WGPU_BACKEND; output that cannot be written.
pub fn run(_: &Args, output: OutputOptions) -> anyhow::Result<()> {
    let list = list_adapters()?;
    if output.json {
        outln!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(());
    }
    for a in &list {
        outln!("gpu:{}  {}", a.index, a.name);
        outln!("    {} GPU, {}, driver {}", a.kind, a.backend, a.driver);
        outln!(
            "    binding {}, buffer {}, workgroup memory {} KiB, subgroups {}, f16 {}, timestamps {}",
            mebibytes(a.max_binding as usize),
            mebibytes(a.max_buffer as usize),
            a.workgroup_memory / 1024,
            match (a.subgroups, a.subgroup) {
                (true, (least, most)) => format!("{least}-{most}"),
                (false, _) => "no".to_string(),
            },
            if a.f16 { "yes" } else { "no" },
            if a.timestamps { "yes" } else { "no" },
        );
        outln!(
            "    cooperative matrices: {}",
            if a.cooperative.is_empty() {
                "none reported".to_string()
            } else {
                a.cooperative.join(", ")
            }
        );
        if !a.usable {
            outln!(
                "    NOT USABLE: below WebGPU's default limits: {}",
                a.lacks.join(", ")
            );
        }
    }
    outln!(
        "cpu    CPU executor, {} threads",
        rayon::current_num_threads()
    );
    let hardware = list.iter().filter(|a| a.kind != "cpu" && a.usable).count();
    if hardware > 0 {
        outln!("\n--device auto uses the first hardware GPU (discrete before integrated).");
    } else if list.is_empty() {
        outln!("\n{}\n--device auto uses the CPU executor.", none_found());
    } else {
        outln!(
            "\nNo hardware GPU: --device auto uses the CPU executor. \
             Software drivers are used when named (--device llvmpipe)."
        );
    }
    Ok(())
}
