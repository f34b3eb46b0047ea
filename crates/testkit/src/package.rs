//! Builders of packages, good and hostile.
