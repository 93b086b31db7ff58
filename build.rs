//! Compiles the crate again when a preset or an experiment was added: the compiler itself sees only files that it read
//! before.

fn main() {
    println!("cargo::rerun-if-changed=assets");
}
