//! What this process allows itself, which no child inherits, and how it starts children.

use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt as _;
use std::path::Path;

use windows::Wdk::System::SystemServices::RtlGetVersion;
use windows::Win32::Foundation::CloseHandle;
use windows::Win32::System::LibraryLoader::{
    LOAD_LIBRARY_SEARCH_SYSTEM32, SetDefaultDllDirectories,
};
use windows::Win32::System::SystemInformation::OSVERSIONINFOW;
use windows::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CreateProcessW, DETACHED_PROCESS, PROCESS_INFORMATION, STARTUPINFOW,
};
use windows::core::{PCWSTR, PWSTR};

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

/// Starts a program that outlives this process and shares nothing with it: no console, no handle. Its
/// command line begins with its own name.
pub fn detach(program: &Path, command_line: &OsStr) -> io::Result<()> {
    let wide = |text: &OsStr| text.encode_wide().chain([0]).collect::<Vec<u16>>();
    let (program, mut line) = (wide(program.as_os_str()), wide(command_line));
    let startup = STARTUPINFOW {
        cb: u32::try_from(size_of::<STARTUPINFOW>()).unwrap_or(0),
        ..STARTUPINFOW::default()
    };
    let mut started = PROCESS_INFORMATION::default();
    // SAFETY: the texts end with a zero and outlive the call, which may write into the command line;
    // the structures are of the sizes that they say; both handles that come back are closed once.
    unsafe {
        CreateProcessW(
            PCWSTR(program.as_ptr()),
            Some(PWSTR(line.as_mut_ptr())),
            None,
            None,
            false,
            DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP,
            None,
            PCWSTR::null(),
            &raw const startup,
            &raw mut started,
        )?;
        let _ = CloseHandle(started.hThread);
        let _ = CloseHandle(started.hProcess);
    }
    Ok(())
}
