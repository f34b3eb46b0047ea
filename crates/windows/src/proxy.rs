//! The user's proxy settings: those that browsers and most programs of Windows follow.
//!
//! Lists are handed over as Windows writes them. What they mean is the caller's affair.

use std::ffi::c_void;
use std::io;

use windows::Win32::Foundation::{GlobalFree, HGLOBAL};
use windows::Win32::Networking::WinHttp::{
    WINHTTP_ACCESS_TYPE_NO_PROXY, WINHTTP_AUTO_DETECT_TYPE_DHCP, WINHTTP_AUTO_DETECT_TYPE_DNS_A,
    WINHTTP_AUTOPROXY_AUTO_DETECT, WINHTTP_AUTOPROXY_CONFIG_URL, WINHTTP_AUTOPROXY_OPTIONS,
    WINHTTP_CURRENT_USER_IE_PROXY_CONFIG, WINHTTP_PROXY_INFO, WinHttpCloseHandle,
    WinHttpGetIEProxyConfigForCurrentUser, WinHttpGetProxyForUrl, WinHttpOpen,
};
use windows::core::{BOOL, HSTRING, PCWSTR, PWSTR, w};

/// What the user has set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSettings {
    /// Whether a script is to be looked for in the network (WPAD).
    pub detect: bool,
    /// Where a script is (PAC).
    pub script: Option<String>,
    /// The proxies without a script.
    pub proxies: Option<String>,
    /// The hosts that need none of them.
    pub bypass: Option<String>,
}

/// What a script has chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The proxies, the first to be tried first; `None` when none is needed.
    pub proxies: Option<String>,
    /// The hosts that need none of them.
    pub bypass: Option<String>,
}

/// Reads the user's settings. Asks no network.
pub fn user_settings() -> io::Result<UserSettings> {
    let mut found = WINHTTP_CURRENT_USER_IE_PROXY_CONFIG::default();
    // SAFETY: `found` is valid to be written for the time of the call.
    unsafe { WinHttpGetIEProxyConfigForCurrentUser(&raw mut found) }?;
    Ok(UserSettings {
        detect: found.fAutoDetect.as_bool(),
        // SAFETY: the call has succeeded, so each is null or a string that is ours to free, and
        // each is taken once.
        script: unsafe { take(found.lpszAutoConfigUrl) },
        // SAFETY: as above.
        proxies: unsafe { take(found.lpszProxy) },
        // SAFETY: as above.
        bypass: unsafe { take(found.lpszProxyBypass) },
    })
}

/// Has a script choose the proxy for an address: one that is looked for in the network, if
/// `detect`, else the one at `script`.
///
/// Looks for it and fetches it, which can take many seconds and cannot be ended: call it from a
/// thread that can be left behind. The user's name and password are given to no server.
pub fn ask_script(url: &str, detect: bool, script: Option<&str>) -> io::Result<Chosen> {
    let session = Session::open()?;
    let (url, script) = (HSTRING::from(url), script.map(HSTRING::from));
    let mut options = WINHTTP_AUTOPROXY_OPTIONS {
        fAutoLogonIfChallenged: BOOL::from(false),
        ..Default::default()
    };
    if detect {
        options.dwFlags |= WINHTTP_AUTOPROXY_AUTO_DETECT;
        options.dwAutoDetectFlags = WINHTTP_AUTO_DETECT_TYPE_DHCP | WINHTTP_AUTO_DETECT_TYPE_DNS_A;
    }
    if let Some(script) = &script {
        options.dwFlags |= WINHTTP_AUTOPROXY_CONFIG_URL;
        options.lpszAutoConfigUrl = PCWSTR(script.as_ptr());
    }
    let mut found = WINHTTP_PROXY_INFO::default();
    // SAFETY: the session is open; the strings that the options and the call point to live until
    // the end of this function; `found` is valid to be written for the time of the call.
    unsafe { WinHttpGetProxyForUrl(session.0, &url, &raw mut options, &raw mut found) }?;
    // SAFETY: the call has succeeded, so each is null or a string that is ours to free, and each is
    // taken once.
    let (proxies, bypass) = unsafe { (take(found.lpszProxy), take(found.lpszProxyBypass)) };
    if found.dwAccessType == WINHTTP_ACCESS_TYPE_NO_PROXY {
        return Ok(Chosen::default());
    }
    Ok(Chosen { proxies, bypass })
}

/// A session of WinHTTP, closed when it is dropped.
struct Session(*mut c_void);

impl Session {
    fn open() -> io::Result<Self> {
        // SAFETY: the strings are constants, or null, which these parameters allow.
        let handle = unsafe {
            WinHttpOpen(
                w!("castoff"),
                WINHTTP_ACCESS_TYPE_NO_PROXY,
                PCWSTR::null(),
                PCWSTR::null(),
                0,
            )
        };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(handle))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and closed here only.
        let _ = unsafe { WinHttpCloseHandle(self.0) };
    }
}

/// Copies a string that a call of WinHTTP has made, and frees it. An empty one counts as none.
///
/// # Safety
///
/// It is null, or ends with a zero, was allocated by `GlobalAlloc`, and is used no more.
unsafe fn take(text: PWSTR) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, so it ends with a zero.
    let units = unsafe { text.as_wide() };
    let copy = String::from_utf16_lossy(units);
    // SAFETY: it was allocated so, and nobody uses it after this. (What it returns on success is
    // null, which the binding takes for an error.)
    let _ = unsafe { GlobalFree(Some(HGLOBAL(text.as_ptr().cast()))) };
    Some(copy).filter(|copy| !copy.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_can_be_read() {
        // Whatever they are on this machine.
        let settings = user_settings().unwrap();
        assert_ne!(settings.proxies, Some(String::new()));
    }

    #[test]
    fn a_script_that_is_not_there_is_an_error() {
        let nowhere = Some("http://127.0.0.1:1/proxy.pac");
        assert!(ask_script("https://h.example/", false, nowhere).is_err());
    }
}
