//! Archives: what is in a package, and the refusal of what must not be written.

pub mod guard;

pub use self::guard::SafePath;
