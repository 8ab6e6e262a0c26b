//! `encrypt-cloud-image provision`: for one guest into a file or onto a device, or for several.

mod common;
mod device;
mod file;
mod guests;
mod guests_file;
mod plan;

use crate::args;
use crate::message::Failure;
use crate::signals;

/// Makes the images of one guest or of several, or shows what that would do. `verbose`: a run tells its whole plan.
pub fn run(command: &args::Provision, verbose: bool) -> Result<(), Failure> {
    let stop = signals::stop_flag();
    match (&command.output, &command.guests) {
        (_, Some(guests)) => guests::run(command, guests, verbose, &stop),
        (Some(output), None) => file::run(command, output, verbose, &stop),
        (None, None) => Ok(()), // the parser wants one of them
    }
}
