//! A message in a window of its own, for when there is no console to print it in.

use std::ffi::c_void;

use windows::Win32::Foundation::HANDLE;
use windows::Win32::System::StationsAndDesktops::{
    GetProcessWindowStation, GetUserObjectInformationW, UOI_FLAGS, USEROBJECTFLAGS,
};
use windows::Win32::UI::WindowsAndMessaging::{
    MB_ICONERROR, MB_OK, MB_SETFOREGROUND, MessageBoxW, WSF_VISIBLE,
};
use windows::core::HSTRING;

/// Shows an error and waits until the person has closed the window.
///
/// Where nobody could see or close it, as in a service, nothing is shown. Returns whether it was.
pub fn error(title: &str, text: &str) -> bool {
    if !is_interactive() {
        return false;
    }
    let (title, text) = (HSTRING::from(title), HSTRING::from(text));
    let style = MB_ICONERROR | MB_OK | MB_SETFOREGROUND;
    // SAFETY: both texts end with a zero and outlive the call; no window is named as its owner.
    unsafe { MessageBoxW(None, &text, &title, style) }.0 != 0
}

/// Whether this process's windows can be seen: a service's are on a desktop that nobody has.
fn is_interactive() -> bool {
    // SAFETY: the handle is the process's own and is not to be closed.
    let Ok(station) = (unsafe { GetProcessWindowStation() }) else {
        return false;
    };
    let mut flags = USEROBJECTFLAGS::default();
    let size = u32::try_from(size_of_val(&flags)).unwrap_or_default();
    // SAFETY: what is asked for is written to a structure made for it, whose size is told.
    let asked = unsafe {
        let into = (&raw mut flags).cast::<c_void>();
        GetUserObjectInformationW(HANDLE(station.0), UOI_FLAGS, Some(into), size, None)
    };
    asked.is_ok() && flags.dwFlags & WSF_VISIBLE.cast_unsigned() != 0
}
