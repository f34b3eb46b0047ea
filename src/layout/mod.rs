//! How versions lie on a disk: the locks, the tree, backups, the journal, commit and undo.
//!
//! This is the in-place layout: one client folder, in which a commit renames staged files over
//! the old ones, with a whole backup beside them.
//!
//! Promises: at every instant the disk holds the old version, or the new one, or a journal that
//! leads to one of them; an undo can be repeated; the backup that an undo reads is never moved.
//! What the user put into the folder stays through update, undo and restore; a file of theirs that a
//! release overwrites is in the backup.
//!
//! Knows nothing of the network.

pub mod backup;
mod commit;
pub mod journal;
pub mod locks;
pub mod seed;
pub mod tree;

pub use commit::{Committed, Transaction, Undone, recover, restore};
pub(crate) use commit::{need_free, probe, roll_back};
