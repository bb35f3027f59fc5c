//! The safe interface: what it promises beyond C's own tests. One program, so that it is also run under valgrind.

mod bundles;
mod callbacks;
mod checkpoints;
mod given;
mod interop;
mod lifetimes;
mod merges;
mod models;
mod modulators;
mod threads;
