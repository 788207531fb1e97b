//! The page's files are embedded by name, so a change of names is a reason to build again.

fn main() {
    println!("cargo::rerun-if-changed=ui/dist");
}
