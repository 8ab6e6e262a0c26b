//! Who anchors a signature, as the OpenSSL of firmware has it. The judge is Debian's OpenSSL: its library in this
//! process for thousands of chains, its program for a sample; more of both where `ECI_TEST_ALL` is set. For shim's, what
//! its own copy said was recorded.

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod differential;
mod extensions;
mod judge;
mod mutation;
mod scenario;
mod shim;
