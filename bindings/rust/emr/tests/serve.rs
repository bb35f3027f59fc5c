//! The example serve.rs is tested by its own test.

#[path = "../examples/serve.rs"]
#[allow(dead_code)] // The program around it.
mod serve;
