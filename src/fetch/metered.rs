//! Whether the connection is paid for by the byte, as the system says.
//!
//! Promises: an answer within [`PATIENCE`]; nothing that was started for it is left running. Linux
//! asks NetworkManager by `busctl`, Windows its cost manager; elsewhere, and where neither is there,
//! it is unknown.
//!
//! Not promised: that the system knows. What it guesses to be metered counts as metered.

use std::time::Duration;

/// How long to wait for the system. It answers in milliseconds where it does.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether it is; `None`: unknown.
#[cfg(target_os = "linux")]
pub(crate) fn is_metered() -> Option<bool> {
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    const MANAGER: &str = "org.freedesktop.NetworkManager";
    const OBJECT: &str = "/org/freedesktop/NetworkManager";
    /// Nobody notices this much.
    const PAUSE: Duration = Duration::from_millis(5);

    let mut child = Command::new("busctl")
        .args([
            "--system",
            "get-property",
            MANAGER,
            OBJECT,
            MANAGER,
            "Metered",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + PATIENCE;
    let ended = loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Ok(Some(status)) => break status.success(),
            _ => break false,
        }
    };
    if !ended {
        // It may have ended by itself.
        let _ = child.kill().and_then(|()| child.wait());
        return None;
    }
    let mut answer = [0; 16];
    let length = child.stdout.take()?.read(&mut answer).ok()?;
    read(&answer[..length])
}

/// The value of the property (`NMMetered`): 1 and 3 are yes and a guessed yes, 2 and 4 no.
#[cfg(any(target_os = "linux", test))]
fn read(answer: &[u8]) -> Option<bool> {
    match answer.trim_ascii() {
        b"u 1" | b"u 3" => Some(true),
        b"u 2" | b"u 4" => Some(false),
        _ => None,
    }
}

/// Whether it is; `None`: unknown.
#[cfg(windows)]
pub(crate) fn is_metered() -> Option<bool> {
    super::aside::within(PATIENCE, "metered", || {
        castoff_windows::network::is_metered().ok()
    })
    .ok()?
}

/// Whether it is; `None`: unknown.
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn is_metered() -> Option<bool> {
    crate::record::debug!(
        "not asked for {PATIENCE:?}: nothing says whether the connection is metered"
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_yes_is_none() {
        for (answer, metered) in [
            (&b"u 1\n"[..], Some(true)),
            (b"u 3\n", Some(true)),
            (b"u 2\n", Some(false)),
            (b"u 4\n", Some(false)),
            (b"u 0\n", None),
            (b"", None),
            (b"s \"1\"\n", None),
        ] {
            assert_eq!(read(answer), metered);
        }
    }
}
