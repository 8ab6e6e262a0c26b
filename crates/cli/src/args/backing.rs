//! What lies below an image.

use std::path::PathBuf;

use clap::Args;

use crate::parse;

#[derive(Debug, Args)]
pub struct BackingOption {
    /// File below a qcow2 image that holds the changes to another one
    ///
    /// The image names that file too, but that name is not followed: it can be any file of this machine. Where FILE is
    /// such an image itself, give the option again for the file below it: from the top down. FILE is read as the format that
    /// the image above states; bytes that are said to be raw are not looked at for another format.
    #[arg(long, value_name = "FILE", action = clap::ArgAction::Append, value_parser = parse::image_path(),
        help_heading = "Advanced")]
    pub backing_file: Vec<PathBuf>,
}
