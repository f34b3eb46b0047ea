//! The release server.
pub mod error;
pub mod registry;
pub use error::{Error, Result};
