//! Who anchors a signature, as the OpenSSL of firmware has it. The judge is Debian's OpenSSL: its library in this
//! process for thousands of chains, its program for some hundreds, all of them where `ECI_TEST_ALL` is set.

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod differential;
mod judge;
mod mutation;
mod scenario;
