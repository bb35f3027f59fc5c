//! The example merge_apply.rs is tested by its own test.

#[path = "../examples/merge_apply.rs"]
#[allow(dead_code)] // the program around it
mod merge_apply;
