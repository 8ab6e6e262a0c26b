//! What firmware keeps and reads: the databases of Secure Boot in every form an operator has them in, and the
//! signed programs that are judged by them.
//!
//! A *signature list* is what a database (PK, KEK, db, dbx) is made of. A database reaches us in a file of
//! its own, signed ([`authenticated_variable`]) or not, in a firmware's [`variable_store`], through
//! [`efivarfs`], in [`azure`]'s description of a disk or in our own [`config`], which is the value that all
//! of them lead to. Its bytes are never encoded anew: PCR 7 measures them.
//!
//! A *program* is a PE file ([`pe`]) that firmware or shim loads. Its digest leaves out its *signatures*
//! ([`pkcs7`]), which stand in its certificate table. A signature counts where a [`chain`] of
//! certificates leads from its signer to an entry of a database, its *anchor*. [`Program`] is all that a prediction
//! asks of a boot file.
//!
//! Everything here is a parser of bytes that nobody vouches for: it returns a value of its own or a typed
//! error with the place, has a bound for what it reads, and starts no process. Each format has its own
//! enum of errors, since a caller meets one format at a time; [`Error`] is that of programs.
//!
//! ```
//! use base::storage::MemoryStorage;
//! use firmware::signature_list::{self, SHA256};
//! use firmware::{Pe, SignatureList};
//! use uuid::Uuid;
//!
//! // A db that allows one program by its digest.
//! let list = SignatureList::new(SHA256, Uuid::from_u128(1), [[0xab; 32].as_slice()])?;
//! let read = signature_list::parse(&list.to_bytes())?;
//! assert_eq!(read[0].entries[0].data, [0xab; 32]);
//!
//! // What is no program is refused in words.
//! let error = Pe::read(&MemoryStorage::new(b"#!/bin/sh".to_vec())).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "9 bytes are too few for a PE program, whose headers take 96",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::cast_possible_truncation,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod authenticated_variable;
mod authenticode;
pub mod authority;
pub mod azure;
pub mod certificate;
pub mod chain;
pub mod config;
mod der;
pub mod device_path;
pub mod efivarfs;
mod error;
pub mod fallback;
pub mod foreign;
mod grub;
pub mod guid;
mod json;
mod kind;
mod loader_entry;
pub mod pe;
pub mod pkcs7;
mod program;
mod rules;
pub mod sbat;
pub mod shim;
pub mod signature_list;
pub mod utf16;
mod variable_record;
pub mod variable_store;

pub use authenticode::{Effect, Signatures, Skipped, signatures};
pub use certificate::{Certificate, Hash};
pub use config::{Database, UefiConfig};
pub use error::Error;
pub use kind::Kind;
pub use loader_entry::LoaderEntry;
pub use pe::{Machine, Pe};
pub use pkcs7::Signature;
pub use program::{MEASURED_SECTIONS, Program};
pub use signature_list::{Entry, SignatureList};
pub use variable_record::{Record, RecordError, State};

/// A result of reading a program.
pub type Result<T> = std::result::Result<T, Error>;

/// Length of a SHA-256 digest.
pub const SHA256_BYTES: usize = 32;
