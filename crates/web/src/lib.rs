//! What the release server and the resident updater share as servers: [`tls`], what [pages](page) say of themselves, and
//! when it is [enough](end).

pub mod page;
pub mod tls;

/// Until somebody says that it is enough: Ctrl+C, or SIGTERM as systemd sends it.
pub async fn end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = tokio::signal::ctrl_c() => return,
            }
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
