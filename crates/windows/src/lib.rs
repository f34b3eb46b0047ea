//! The calls to Windows that have no safe form, made safe.
//!
//! Promises: every function is safe to call, from any thread; each unsafe block says why it is
//! sound. This is the workspace's only crate with unsafe code, and it decides nothing: what is
//! called when is the engine's and the launcher's affair. Elsewhere than on Windows it is empty.
#![cfg(windows)]

pub mod console;
pub mod dialog;
pub mod network;
pub mod process;
pub mod proxy;
pub mod shortcut;
