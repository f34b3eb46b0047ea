//! The console, with real ones: this program is started again in the parts that are played.
#![cfg(windows)]

use std::env;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::windows::io::{AsRawHandle, IntoRawHandle};
use std::os::windows::process::CommandExt;
use std::process::{Command, Stdio};

use castoff_windows::console::{self, Event};
use windows::Win32::Foundation::HANDLE;
use windows::Win32::System::Console::{
    COORD, GetConsoleOutputCP, ReadConsoleOutputCharacterW, STD_ERROR_HANDLE, STD_INPUT_HANDLE,
    STD_OUTPUT_HANDLE, SetConsoleOutputCP, SetStdHandle,
};

/// The part that this process plays.
const PART: &str = "CONSOLE_PART";
/// Chinese, and characters that GBK has no place for.
const TEXT: &str = "\u{66f4}\u{65b0}\u{7a0b}\u{5e8f} \u{e9}\u{f8}";

/// A console without a window.
const NO_WINDOW: u32 = 0x0800_0000;
/// No console.
const DETACHED: u32 = 0x8;

fn play(part: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "part", "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// What the other tests start; by itself nothing.
#[test]
#[expect(clippy::disallowed_methods, reason = "a part ends as its own program")]
fn part() {
    let Ok(part) = env::var(PART) else { return };
    let words: Vec<&str> = part.split(' ').collect();
    let done = match words[0] {
        "owner" => own(words[1].parse().unwrap()),
        "guest" => visit(),
        "hermit" => {
            without_handles();
            again("lonely")
        }
        "lonely" => no_handles() && !console::attach() && no_handles(),
        "director" => direct(),
        "stayer" => stay(),
        "keeper" => {
            console::attach();
            write!(io::stderr(), "[{TEXT}]").is_ok() && !io::stderr().is_terminal()
        }
        other => panic!("no part {other}"),
    };
    std::process::exit(if done { 7 } else { 1 });
}

/// Has a console of that code page, and starts a guest that has none and no handles.
fn own(code_page: u32) -> bool {
    let screen = OpenOptions::new().read(true).write(true).open("CONOUT$");
    let screen = HANDLE(screen.unwrap().into_raw_handle());
    // SAFETY: takes a number.
    unsafe { SetConsoleOutputCP(code_page) }.unwrap();
    without_handles();
    let visited = again("guest");
    let mut shown = [0; 80 * 20];
    let mut count = 0;
    // SAFETY: the length goes along with the buffer; the handle is this process's.
    unsafe {
        let start = COORD::default();
        ReadConsoleOutputCharacterW(screen, &mut shown, start, &raw mut count).unwrap();
    }
    let mut shown: Vec<u16> = shown.into_iter().filter(|unit| *unit != 0).collect();
    // A wide character may stand for both of its cells.
    shown.dedup();
    let expected: Vec<u16> = format!("[{TEXT}]").encode_utf16().collect();
    // SAFETY: asks for a number.
    let code_page_stayed = unsafe { GetConsoleOutputCP() } == code_page;
    visited && code_page_stayed && shown.windows(expected.len()).any(|part| part == expected)
}

/// Attaches to the owner's console and writes there.
fn visit() -> bool {
    no_handles()
        && console::attach()
        && io::stderr().is_terminal()
        && io::stdout().is_terminal()
        && io::stdin().is_terminal()
        && write!(io::stderr(), "[{TEXT}]").is_ok()
}

/// Sends Ctrl+C to this process and another one, which both outlive it.
fn direct() -> bool {
    console::outlive(|_| {}).unwrap();
    let mut stayer = play("stayer")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(stayer.stdout.take().unwrap()).lines();
    let mut wait_for = |word: &str| {
        assert!(said.any(|line| line.unwrap().contains(word)), "no {word}");
    };
    wait_for("ready");
    console::interrupt().unwrap();
    wait_for("told Interrupt");
    // It still runs: it ends when there is no more to read.
    assert_eq!(stayer.try_wait().unwrap(), None);
    drop(stayer.stdin.take());
    stayer.wait().unwrap().code() == Some(7)
}

/// Tells what the console says, until there is nothing more to read.
fn stay() -> bool {
    let tell = |event: Event| drop(writeln!(io::stdout(), "told {event:?}"));
    console::outlive(tell).unwrap();
    drop(writeln!(io::stdout(), "\nready"));
    io::stdin().read_to_end(&mut Vec::new()).is_ok()
}

/// Plays a part without a console, with the handles of this process.
fn again(part: &str) -> bool {
    let mut command = play(part);
    command
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .creation_flags(DETACHED);
    command.status().unwrap().code() == Some(7)
}

fn without_handles() {
    for stream in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: null means that there is none.
        unsafe { SetStdHandle(stream, HANDLE::default()) }.unwrap();
    }
}

fn no_handles() -> bool {
    io::stdin().as_raw_handle().is_null()
        && io::stdout().as_raw_handle().is_null()
        && io::stderr().as_raw_handle().is_null()
}

#[test]
fn text_is_whole_on_a_console_of_any_code_page() {
    for code_page in [936, 437, 1252, 65001] {
        let status = play(&format!("owner {code_page}"))
            .creation_flags(NO_WINDOW)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(7), "{code_page}");
    }
}

#[test]
fn what_was_given_stays_and_is_utf_8() {
    for flags in [0, DETACHED, NO_WINDOW] {
        let output = play("keeper").creation_flags(flags).output().unwrap();
        let written = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), written),
            (Some(7), format!("[{TEXT}]"))
        );
    }
}

#[test]
fn without_a_console_there_are_no_handles() {
    let hermit = play("hermit").creation_flags(DETACHED).status().unwrap();
    assert_eq!(hermit.code(), Some(7));
}

#[test]
fn an_event_is_told_and_outlived() {
    let director = play("director").creation_flags(NO_WINDOW).output().unwrap();
    assert_eq!(director.status.code(), Some(7), "{director:?}");
}
