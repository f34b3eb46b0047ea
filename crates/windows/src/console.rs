//! The console of a program that has none by itself: the one that it was started from.
//!
//! A program of the GUI subsystem gets no console window, which nobody wants to see at a
//! double-click, and no connection to the console that it was typed into either. [`attach`] makes
//! that connection, [`outlive`] keeps its events from ending the process.
//!
//! Promised: handles that were given (a pipe, a file, NUL) stay, and the console's code pages are
//! left as they are, for they belong to everyone who uses it. Text needs no code page: the standard
//! library hands it to a console as UTF-16.
//!
//! Not promised: that anybody sees the console. One whose window is hidden looks like any other.

use std::fs::OpenOptions;
use std::io;
use std::os::windows::io::IntoRawHandle;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use windows::Win32::Foundation::{ERROR_ACCESS_DENIED, HANDLE};
use windows::Win32::Storage::FileSystem::{FILE_TYPE_UNKNOWN, GetFileType};
use windows::Win32::System::Console::{
    ATTACH_PARENT_PROCESS, AttachConsole, CONSOLE_MODE, CTRL_BREAK_EVENT, CTRL_C_EVENT,
    CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT, ENABLE_VIRTUAL_TERMINAL_PROCESSING,
    GenerateConsoleCtrlEvent, GetConsoleMode, GetConsoleProcessList, GetStdHandle,
    STD_ERROR_HANDLE, STD_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetConsoleCtrlHandler,
    SetConsoleMode, SetStdHandle,
};
use windows::core::BOOL;

/// The standard handles, and what opens the console in their place.
const STREAMS: [(STD_HANDLE, &str); 3] = [
    (STD_INPUT_HANDLE, "CONIN$"),
    (STD_OUTPUT_HANDLE, "CONOUT$"),
    (STD_ERROR_HANDLE, "CONOUT$"),
];

/// Whether [`attach`] has found a console of somebody else's.
static SHARED: AtomicBool = AtomicBool::new(false);

/// Whether this process's console is one that it was merely attached to. Then nothing should be read
/// from it: a shell does not wait for a program of the GUI subsystem, and reads its next command
/// from there at the same time.
pub fn is_shared() -> bool {
    SHARED.load(Ordering::Relaxed)
}

/// Has the console on stdout follow escape sequences, and returns whether it does. Consoles before
/// Windows 10 print them instead.
pub fn follow_sequences() -> bool {
    // SAFETY: of a handle that is no console's the mode cannot be had, and nothing is changed.
    unsafe {
        GetStdHandle(STD_OUTPUT_HANDLE).is_ok_and(|output| {
            let mut mode = CONSOLE_MODE::default();
            GetConsoleMode(output, &raw mut mode).is_ok()
                && SetConsoleMode(output, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING).is_ok()
        })
    }
}

/// Attaches to the console of the parent process, if it has one, and sees to the standard handles:
/// those that were given stay, those that are missing become the console's. Without a console what
/// is missing, or is no handle at all, is null: the standard library then passes over it, also in
/// children.
///
/// Returns whether there is a console. To be called before anything is written.
pub fn attach() -> bool {
    // Attaching may replace them.
    let given = STREAMS.map(|(stream, _)| given(stream));
    // SAFETY: takes a number, and changes nothing where it fails.
    let attached = match unsafe { AttachConsole(ATTACH_PARENT_PROCESS) } {
        Ok(()) => {
            SHARED.store(true, Ordering::Relaxed);
            true
        }
        // There is one already.
        Err(error) => error.code() == ERROR_ACCESS_DENIED.to_hresult(),
    };
    for ((stream, name), given) in STREAMS.into_iter().zip(given) {
        let opened = || attached.then(|| open(name)).flatten();
        let handle = given.or_else(opened).unwrap_or_default();
        // SAFETY: the handle is valid and nobody closes it: it was given to this process, or is
        // let go of by `open`. Null means that there is none.
        let _ = unsafe { SetStdHandle(stream, handle) };
    }
    attached
}

/// The handle that this process was started with, if it is one. A shell puts other things in its
/// place, such as the number of a monitor, into which nobody can write.
fn given(stream: STD_HANDLE) -> Option<HANDLE> {
    // SAFETY: takes a number and gives a copy of a handle, which stays the process's.
    let handle = unsafe { GetStdHandle(stream) }.ok()?;
    // SAFETY: answers for every value, also for what is no handle.
    let real = !handle.is_invalid() && unsafe { GetFileType(handle) } != FILE_TYPE_UNKNOWN;
    real.then_some(handle)
}

/// Opens an end of the console, for as long as the process runs.
fn open(name: &str) -> Option<HANDLE> {
    let file = OpenOptions::new().read(true).write(true).open(name).ok()?;
    Some(HANDLE(file.into_raw_handle()))
}

/// Waits until a child has attached to this process's console: if this process ended before, the
/// child would find none. Returns at once without a console, and at the latest after `limit`.
pub fn share_with(child: u32, limit: Duration) {
    /// A process is there in this time, mostly.
    const PAUSE: Duration = Duration::from_millis(10);

    let end = Instant::now() + limit;
    loop {
        // More than anybody sees in one console. If there are still more, there is no list, and
        // the limit has to do.
        let mut processes = [0; 256];
        // SAFETY: the length goes along with the list.
        let count = unsafe { GetConsoleProcessList(&mut processes) };
        if count == 0 || processes.contains(&child) || Instant::now() >= end {
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// What a console tells every process that is attached to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Ctrl+C.
    Interrupt,
    /// Ctrl+Break.
    Break,
    /// The console's window is closed.
    Close,
    /// The user logs off.
    Logoff,
    /// The system shuts down.
    Shutdown,
}

impl Event {
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            CTRL_C_EVENT => Self::Interrupt,
            CTRL_BREAK_EVENT => Self::Break,
            CTRL_CLOSE_EVENT => Self::Close,
            CTRL_LOGOFF_EVENT => Self::Logoff,
            CTRL_SHUTDOWN_EVENT => Self::Shutdown,
            _ => return None,
        })
    }

    /// Whether the system ends the process when it has been told.
    fn is_the_end(self) -> bool {
        !matches!(self, Self::Interrupt | Self::Break)
    }
}

static TOLD: OnceLock<fn(Event)> = OnceLock::new();

/// From now on no event of the console ends this process at once; `told` hears of each, in a thread
/// of its own. Children do not inherit this. Only the first call counts.
///
/// Ctrl+C and Ctrl+Break mean nothing any more. After the others the system ends the process in any
/// case, but it waits for a while (five seconds when the window is closed): time enough for a
/// child, which is told too, to end, and for this process to pass its exit code on.
///
/// Not promised: the end of the session, of which a process with windows (it need not show any) is
/// told in another way.
pub fn outlive(told: fn(Event)) -> io::Result<()> {
    // First of all: an event may come as soon as the routine is there.
    if TOLD.set(told).is_err() {
        return Ok(());
    }
    // SAFETY: the routine is a function, there as long as the process, and fit for any thread. It
    // is never the null routine, which children would inherit.
    Ok(unsafe { SetConsoleCtrlHandler(Some(routine), true) }?)
}

/// Does what Ctrl+C does in this process's console: tells all processes that are attached to it,
/// this one among them.
pub fn interrupt() -> io::Result<()> {
    /// All processes of the console.
    const EVERYBODY: u32 = 0;

    // SAFETY: takes numbers.
    Ok(unsafe { GenerateConsoleCtrlEvent(CTRL_C_EVENT, EVERYBODY) }?)
}

/// Whether an event has been dealt with. Called by the system, in a thread made for it.
extern "system" fn routine(number: u32) -> BOOL {
    let (Some(told), Some(event)) = (TOLD.get(), Event::of(number)) else {
        return false.into();
    };
    told(event);
    while event.is_the_end() {
        // Returning would end the process; it ends by itself, or when the system has lost patience.
        thread::park();
    }
    true.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_numbers_of_the_system() {
        let events: Vec<_> = (0..8).filter_map(Event::of).collect();
        assert_eq!(
            events,
            [
                Event::Interrupt,
                Event::Break,
                Event::Close,
                Event::Logoff,
                Event::Shutdown
            ]
        );
        let ends: Vec<_> = events.into_iter().filter(|e| e.is_the_end()).collect();
        assert_eq!(ends, [Event::Close, Event::Logoff, Event::Shutdown]);
    }
}
