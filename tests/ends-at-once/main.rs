//! A program that has nothing to unwind ends with the first signal, whatever it waits for and wherever it runs; and nobody gets a
//! dump of its memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod a_costly_key_derivation;
mod a_pipe_that_nobody_writes;
mod as_process_1;
mod dumps;
mod running;

#[path = "../predict/data.rs"]
#[allow(dead_code, reason = "parts of it")]
mod data;
#[path = "../deploy/encrypted.rs"]
#[allow(dead_code, reason = "parts of it")]
mod encrypted;
#[path = "../provision/plain.rs"]
#[allow(dead_code, reason = "parts of it")]
mod plain;
#[path = "../support/mod.rs"]
mod support;
