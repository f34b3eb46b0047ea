//! What this process allows itself, which no child inherits, and how it starts children.

use windows::Win32::System::LibraryLoader::{
    LOAD_LIBRARY_SEARCH_SYSTEM32, SetDefaultDllDirectories,
};

/// A creation flag: a program of the console opens no window of its own (`CREATE_NO_WINDOW`).
pub const NO_WINDOW: u32 = 0x0800_0000;

/// From now on libraries that are loaded by name come from the system's folder only, and not from
/// the program's, which is often one of downloads. To be called first.
///
/// Not promised: anything about libraries that the executable itself names, which are loaded
/// before it runs.
pub fn harden() {
    // SAFETY: takes a number. Where it fails the order of before holds, which is Windows' own.
    let _ = unsafe { SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_SYSTEM32) };
}
