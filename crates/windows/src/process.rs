//! What this process allows itself, which no child inherits, and how it starts children.

use windows::Wdk::System::SystemServices::RtlGetVersion;
use windows::Win32::System::LibraryLoader::{
    LOAD_LIBRARY_SEARCH_SYSTEM32, SetDefaultDllDirectories,
};
use windows::Win32::System::SystemInformation::OSVERSIONINFOW;

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

/// The system's version, such as `10.0.19045`, whatever it is told that the program was made for.
pub fn system_version() -> Option<String> {
    let mut version = OSVERSIONINFOW {
        dwOSVersionInfoSize: u32::try_from(size_of::<OSVERSIONINFOW>()).ok()?,
        ..OSVERSIONINFOW::default()
    };
    // SAFETY: a structure of the size that it says, which lives until the call has ended.
    let status = unsafe { RtlGetVersion(&raw mut version) };
    status.is_ok().then(|| {
        let OSVERSIONINFOW {
            dwMajorVersion: major,
            dwMinorVersion: minor,
            dwBuildNumber: build,
            ..
        } = version;
        format!("{major}.{minor}.{build}")
    })
}
