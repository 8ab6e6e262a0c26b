//! Reads and writes that fail, each in a run of its own.

use base::storage::Fault;
use filesystem::Error;

/// Lets each read, then each write of an edit fail, and expects the fault itself as the error.
#[track_caller]
pub fn every_fault_is_an_error(edit: &dyn Fn(Fault) -> Result<(), Error>) {
    edit(Fault::default()).unwrap();
    for what in ["read", "write"] {
        let mut failed = 0;
        for number in 0.. {
            let fault = match what {
                "read" => Fault {
                    read: Some(number),
                    ..Fault::default()
                },
                _ => Fault {
                    write: Some(number),
                    ..Fault::default()
                },
            };
            match edit(fault) {
                Ok(()) => break,
                Err(error @ Error::Storage(_)) => {
                    assert_eq!(error.to_string(), "the filesystem's storage failed");
                    let Error::Storage(error) = error else {
                        unreachable!()
                    };
                    assert_eq!(error.io().unwrap().to_string(), "injected fault");
                    failed += 1;
                }
                Err(error) => panic!("{what} {number}: {error}"),
            }
        }
        assert!(failed > 10, "{failed} {what}s");
    }
}
