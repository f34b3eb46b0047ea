//! Archives: what is in a package, and the refusal of what must not be written.

mod guard;

pub use guard::SafePath;
