//! Shortcuts: what a `.lnk` file holds, and the folder of the Start menu.
//!
//! Promises: COM is ready for the time of a call and left as it was, on any thread. Nothing is
//! written to the disk: how the bytes get there is the caller's affair.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use windows::Win32::Foundation::{E_INVALIDARG, RPC_E_CHANGED_MODE};
use windows::Win32::System::Com::{
    CLSCTX_INPROC_SERVER, COINIT_APARTMENTTHREADED, COINIT_DISABLE_OLE1DDE, CoCreateInstance,
    CoInitializeEx, CoTaskMemFree, CoUninitialize, IPersistStream, IStream, STREAM_SEEK_SET,
};
use windows::Win32::UI::Shell::{
    FOLDERID_Programs, IShellLinkW, KF_FLAG_CREATE, SHCreateMemStream, SHGetKnownFolderPath,
    SHGetNameFromIDList, SIGDN_FILESYSPATH, SLGP_RAWPATH, ShellLink,
};
use windows::core::{Interface, PCWSTR};

/// What a shortcut says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The program.
    pub target: PathBuf,
    /// Its arguments, quoted as a command line has them.
    pub arguments: OsString,
    /// The working directory.
    pub working_dir: PathBuf,
    /// The file whose first icon is shown.
    pub icon: PathBuf,
    /// The text that is shown over it.
    pub description: String,
}

/// The content of a `.lnk` file.
pub fn to_bytes(link: &Link) -> io::Result<Vec<u8>> {
    let target = wide(link.target.as_os_str())?;
    let arguments = wide(&link.arguments)?;
    let working_dir = wide(link.working_dir.as_os_str())?;
    let icon = wide(link.icon.as_os_str())?;
    let description = wide(OsStr::new(&link.description))?;
    let _com = Com::begin()?;
    // SAFETY: COM is ready until `_com` is dropped, after the objects; the texts end with a zero
    // and outlive the calls, which copy them; the stream is a live object.
    unsafe {
        let shell: IShellLinkW = CoCreateInstance(&ShellLink, None, CLSCTX_INPROC_SERVER)?;
        shell.SetPath(PCWSTR(target.as_ptr()))?;
        shell.SetArguments(PCWSTR(arguments.as_ptr()))?;
        shell.SetWorkingDirectory(PCWSTR(working_dir.as_ptr()))?;
        shell.SetIconLocation(PCWSTR(icon.as_ptr()), 0)?;
        shell.SetDescription(PCWSTR(description.as_ptr()))?;
        let stream = SHCreateMemStream(None).ok_or(io::ErrorKind::OutOfMemory)?;
        shell.cast::<IPersistStream>()?.Save(&stream, true)?;
        read_all(&stream)
    }
}

/// What a `.lnk` file says.
pub fn of_bytes(bytes: &[u8]) -> io::Result<Link> {
    // The length is handed on in 32 bits; a shortcut has some thousand bytes.
    if bytes.len() > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let _com = Com::begin()?;
    // SAFETY: COM is ready until `_com` is dropped, after the objects; the stream copies `bytes`;
    // the calls write into the slices that they are given, and no further.
    unsafe {
        let shell: IShellLinkW = CoCreateInstance(&ShellLink, None, CLSCTX_INPROC_SERVER)?;
        let stream = SHCreateMemStream(Some(bytes)).ok_or(io::ErrorKind::OutOfMemory)?;
        shell.cast::<IPersistStream>()?.Load(&stream)?;
        let target = target(&shell)?;
        let mut text = vec![0; LONGEST];
        shell.GetArguments(&mut text)?;
        let arguments = narrow(&text);
        text.fill(0);
        shell.GetWorkingDirectory(&mut text)?;
        let working_dir = narrow(&text);
        text.fill(0);
        let mut index = 0;
        shell.GetIconLocation(&mut text, &raw mut index)?;
        let icon = narrow(&text);
        text.fill(0);
        shell.GetDescription(&mut text)?;
        let description = narrow(&text);
        Ok(Link {
            target: target.into(),
            arguments,
            working_dir: working_dir.into(),
            icon: icon.into(),
            description: description.to_string_lossy().into_owned(),
        })
    }
}

/// The program that a shortcut is to.
fn target(shell: &IShellLinkW) -> windows::core::Result<OsString> {
    // SAFETY: the list and the name are given back once each, after their last use; the name ends
    // with a zero; the path is written into the slice, and no further.
    unsafe {
        // The list of items first: the path beside it may be in the letters of one language only.
        if let Ok(items) = shell.GetIDList()
            && !items.is_null()
        {
            let name = SHGetNameFromIDList(items, SIGDN_FILESYSPATH);
            CoTaskMemFree(Some(items.cast()));
            if let Ok(name) = name {
                let path = OsString::from_wide(name.as_wide());
                CoTaskMemFree(Some(name.as_ptr().cast()));
                return Ok(path);
            }
        }
        let mut text = vec![0; LONGEST];
        let flags = SLGP_RAWPATH.0.cast_unsigned();
        shell.GetPath(&mut text, std::ptr::null_mut(), flags)?;
        Ok(narrow(&text))
    }
}

/// The folder of this user's programs in the Start menu.
pub fn programs_folder() -> io::Result<PathBuf> {
    // SAFETY: the identity is a constant; the text that comes back ends with a zero, is read
    // before it is given back, and is given back once.
    unsafe {
        let text = SHGetKnownFolderPath(&FOLDERID_Programs, KF_FLAG_CREATE, None)?;
        let path = OsString::from_wide(text.as_wide());
        CoTaskMemFree(Some(text.as_ptr().cast()));
        Ok(path.into())
    }
}

/// Larger than any shortcut.
const LARGEST: usize = 1 << 20;

/// The longest path of Windows, which is also more than a shortcut's other texts may have.
const LONGEST: usize = 1 << 15;

/// COM, made ready on this thread.
pub(crate) struct Com {
    /// Whether it was this call that made it ready, and has to undo it.
    ours: bool,
    /// What was made ready on a thread is undone on it.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Com {
    pub(crate) fn begin() -> io::Result<Self> {
        // SAFETY: no pointers; each success is undone in `drop`, on the same thread.
        let result =
            unsafe { CoInitializeEx(None, COINIT_APARTMENTTHREADED | COINIT_DISABLE_OLE1DDE) };
        // Ready already, in the other way: that does too, and is not ours to end.
        let changed = result == RPC_E_CHANGED_MODE;
        if !changed {
            result.ok()?;
        }
        Ok(Self {
            ours: !changed,
            _thread: std::marker::PhantomData,
        })
    }
}

impl Drop for Com {
    fn drop(&mut self) {
        if self.ours {
            // SAFETY: undoes the one success in `begin`, on the same thread, after the objects
            // that were made meanwhile.
            unsafe { CoUninitialize() };
        }
    }
}

/// Reads a stream from its start.
fn read_all(stream: &IStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut block = [0_u8; 4096];
    // SAFETY: the stream is a live object, and writes at most as many bytes as it is told into a
    // block that has room for them.
    unsafe {
        stream.Seek(0, STREAM_SEEK_SET, None)?;
        loop {
            let mut count = 0;
            let room = block.len().try_into().unwrap_or(u32::MAX);
            stream
                .Read(block.as_mut_ptr().cast(), room, Some(&raw mut count))
                .ok()?;
            if count == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&block[..count as usize]);
        }
    }
}

/// A text with a zero at its end, and none in it.
fn wide(text: &OsStr) -> io::Result<Vec<u16>> {
    let mut wide: Vec<u16> = text.encode_wide().collect();
    if wide.contains(&0) {
        return Err(windows::core::Error::from_hresult(E_INVALIDARG).into());
    }
    wide.push(0);
    Ok(wide)
}

/// A text up to its zero.
fn narrow(wide: &[u16]) -> OsString {
    let end = wide.iter().position(|unit| *unit == 0);
    OsString::from_wide(&wide[..end.unwrap_or(wide.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link {
            target: r"C:\My Apps\Co & Co\My App.exe".into(),
            arguments: r#"run --dir "C:\My Apps\100%\\""#.into(),
            working_dir: r"C:\My Apps\小明 & Co".into(),
            icon: r"C:\My Apps\小明 & Co\client\app.ico".into(),
            description: "我的应用".into(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = std::env::temp_dir().join(format!("小明 & Co {}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut link = link();
        link.target = folder.join("我的应用.exe");
        std::fs::write(&link.target, "").unwrap();
        let bytes = to_bytes(&link).unwrap();
        // The size of the header and the identity, as [MS-SHLLINK] has them.
        assert_eq!(bytes[..8], [0x4c, 0, 0, 0, 1, 0x14, 2, 0]);
        assert_eq!(of_bytes(&bytes).unwrap(), link);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn com_is_left_as_it_was_on_every_thread() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        assert_eq!(of_bytes(&to_bytes(&link()).unwrap()).unwrap(), link());
                    }
                    let outer = Com::begin().unwrap();
                    assert!(to_bytes(&link()).is_ok());
                    drop(outer);
                });
            }
        });
    }

    #[test]
    fn what_is_no_shortcut_is_refused() {
        assert!(of_bytes(b"").is_err());
        assert!(of_bytes(b"[InternetShortcut]\r\n").is_err());
        assert!(of_bytes(&vec![0; LARGEST + 1]).is_err());
        let mut link = link();
        link.arguments = "a\0b".into();
        assert!(to_bytes(&link).is_err());
    }

    #[test]
    fn the_start_menu_has_a_folder() {
        assert!(programs_folder().unwrap().is_dir());
    }
}
