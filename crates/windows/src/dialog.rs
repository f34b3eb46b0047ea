//! A message or a question in a window of its own, for when there is no console to print it in or to
//! read the answer from.

use std::ffi::c_void;

use windows::Win32::Foundation::HANDLE;
use windows::Win32::System::StationsAndDesktops::{
    GetProcessWindowStation, GetUserObjectInformationW, UOI_FLAGS, USEROBJECTFLAGS,
};
use windows::Win32::UI::WindowsAndMessaging::{
    IDYES, MB_DEFBUTTON2, MB_ICONERROR, MB_ICONQUESTION, MB_OK, MB_SETFOREGROUND, MB_YESNO,
    MESSAGEBOX_RESULT, MESSAGEBOX_STYLE, MessageBoxW, WSF_VISIBLE,
};
use windows::core::HSTRING;

/// Shows an error and waits until the person has closed the window.
///
/// Where nobody could see or close it, as in a service, nothing is shown. Returns whether it was.
pub fn error(title: &str, text: &str) -> bool {
    show(title, text, MB_ICONERROR | MB_OK).is_some()
}

/// Asks a question and waits for the answer. Only a yes is one: closing the window is a no, and where
/// nobody could see it, nothing is asked.
pub fn agrees(title: &str, text: &str) -> bool {
    show(title, text, MB_ICONQUESTION | MB_YESNO | MB_DEFBUTTON2) == Some(IDYES)
}

/// The button by which the window was closed; `None` where none could be shown.
fn show(title: &str, text: &str, style: MESSAGEBOX_STYLE) -> Option<MESSAGEBOX_RESULT> {
    if !is_interactive() {
        return None;
    }
    let (title, text) = (HSTRING::from(title), HSTRING::from(text));
    // SAFETY: both texts end with a zero and outlive the call; no window is named as its owner.
    let closed = unsafe { MessageBoxW(None, &text, &title, style | MB_SETFOREGROUND) };
    (closed.0 != 0).then_some(closed)
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

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use windows::Win32::Foundation::{LPARAM, WPARAM};
    use windows::Win32::UI::WindowsAndMessaging::{FindWindowW, IDNO, PostMessageW, WM_COMMAND};

    use super::*;

    /// What a question gets when that button is pressed.
    fn answered_with(button: MESSAGEBOX_RESULT) -> bool {
        let title = format!("Question {} {}", std::process::id(), button.0);
        let asked = {
            let title = title.clone();
            thread::spawn(move || agrees(&title, "Remove it?"))
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        let title = HSTRING::from(title);
        while !asked.is_finished() {
            assert!(Instant::now() < deadline, "there is no window to answer in");
            // SAFETY: the title ends with a zero; any class will do.
            if let Ok(window) = unsafe { FindWindowW(None, &title) } {
                let pressed = WPARAM(usize::try_from(button.0).unwrap());
                // SAFETY: takes numbers; the window may have gone.
                let _ = unsafe { PostMessageW(Some(window), WM_COMMAND, pressed, LPARAM(0)) };
            }
            thread::sleep(Duration::from_millis(20));
        }
        asked.join().unwrap()
    }

    #[test]
    fn only_a_yes_is_one() {
        assert!(answered_with(IDYES));
        assert!(!answered_with(IDNO));
    }
}
