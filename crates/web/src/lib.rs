//! What the release server and the resident updater share as servers: how they [`listen`], [`tls`], what
//! [pages](page) say of themselves, and when it is [enough](end).

pub mod listen;
pub mod page;
pub mod tls;

/// Until somebody says that it is enough: Ctrl+C, or SIGTERM as systemd sends it (Ctrl+Break on Windows). It is
/// heard from this call on, also before it is awaited: who begins what must not be torn calls this first.
///
/// # Panics
///
/// Outside of a Tokio runtime.
pub fn end() -> impl Future<Output = ()> {
    #[cfg(unix)]
    let (interrupt, terminate) = {
        use tokio::signal::unix::{SignalKind, signal};
        let heard = |kind| signal(kind).ok();
        (
            heard(SignalKind::interrupt()),
            heard(SignalKind::terminate()),
        )
    };
    #[cfg(windows)]
    let (interrupt, terminate) = {
        use tokio::signal::windows::{ctrl_break, ctrl_c};
        (ctrl_c().ok(), ctrl_break().ok())
    };
    let (mut interrupt, mut terminate) = (interrupt, terminate);
    async move {
        tokio::select! {
            Some(()) = async { interrupt.as_mut()?.recv().await } => {}
            Some(()) = async { terminate.as_mut()?.recv().await } => {}
            else => std::future::pending().await,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    #[tokio::test]
    async fn what_is_said_before_it_is_awaited_is_heard() {
        let end = super::end();
        let id = std::process::id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(told.success());
        let heard = tokio::time::timeout(std::time::Duration::from_mins(1), end);
        heard.await.unwrap();
    }
}
