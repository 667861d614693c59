//! Sets up linking of the addon; the plain Rust core needs nothing.

fn main() {
    #[cfg(feature = "node")]
    napi_build::setup();
}
