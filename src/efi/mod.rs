//! What firmware keeps and reads: the databases of Secure Boot in every form an operator has them in.
//!
//! A *signature list* is what a database (PK, KEK, db, dbx) is made of. A database reaches us in a file of
//! its own, signed ([`authenticated_variable`]) or not, in a firmware's [`variable_store`] (raw or in a
//! [`qcow2`] image), through [`efivarfs`], in [`azure`]'s description of a disk or in our own [`config`],
//! which is the value that all of them lead to. Its bytes are never encoded anew: PCR 7 measures them.
//!
//! Everything here is a parser of bytes that nobody vouches for: it returns a value of its own or a typed
//! error with the place, has a bound for what it reads, and starts no process. Each format has its own
//! enum of errors, since a caller meets one format at a time. [`pe`] tells a program for firmware from other files.

pub mod authenticated_variable;
pub mod authority;
pub mod azure;
pub mod config;
pub mod efivarfs;
pub mod guid;
mod json;
pub mod pe;
pub mod qcow2;
pub mod signature_list;
mod variable_record;
pub mod variable_store;

pub use config::{Database, UefiConfig};
pub use signature_list::{Entry, SignatureList};
pub use variable_record::{Record, RecordError, State};
