//! The use case `provision`: `encrypt` and `deploy` in one, so that no medium ever holds an image that a key in the clear opens.
//!
//! [`Batch`] writes the images of several guests in one pass over their source, [`DeviceGuest`] the disk of one.

mod bound;
mod device;
mod guests;

pub use device::DeviceGuest;
pub use guests::{AT_ONCE, Batch, GuestImage, PlainImage, Written};
