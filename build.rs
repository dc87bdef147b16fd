//! Generates the C header into OUT_DIR (a test compares it with the committed one) and sets the SONAME.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("shmds.h");

    let config = cbindgen::Config::from_root_or_default(&root);
    match cbindgen::Builder::new().with_crate(&root).with_config(config).generate() {
        Ok(bindings) => {
            bindings.write_to_file(&out);
        }
        // Code that does not parse is reported better by the compiler.
        Err(error) => println!("cargo:warning=no header was generated: {error}"),
    }
    // For the test that compares it with the committed one.
    println!("cargo:rustc-env=SHMDS_GENERATED_HEADER={}", out.display());

    // Before 1.0 every minor version may change the ABI.
    let part = |name: &str| env::var(name).expect("cargo sets it");
    let abi = match part("CARGO_PKG_VERSION_MAJOR").as_str() {
        "0" => format!("0.{}", part("CARGO_PKG_VERSION_MINOR")),
        major => major.to_owned(),
    };
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libshmds.so.{abi}");
}
