//! Shortcuts: made, started from elsewhere, made again, removed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{Run, World};

fn document(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:#?}"))
}

fn paths(run: &Run) -> Vec<PathBuf> {
    let document = document(run);
    let paths = document["shortcuts"].as_array().unwrap();
    paths
        .iter()
        .map(|path| path.as_str().unwrap().into())
        .collect()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::world::isolate;

    fn desktop(world: &World) -> PathBuf {
        world.home().join("user/Desktop")
    }

    fn menu(world: &World) -> PathBuf {
        world.home().join("user/.local/share/applications")
    }

    fn with_desktop(config: &str) -> World {
        let world = World::with(config);
        fs::create_dir_all(desktop(&world)).unwrap();
        world
    }

    fn value(text: &str, key: &str) -> String {
        let start = format!("{key}=");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {key}: {text}"))
            .to_owned()
    }

    /// Starts what a desktop entry says, by a shell, which has the same rules for quotes.
    fn start(path: &Path, world: &World) -> Run {
        let text = fs::read_to_string(path).unwrap();
        let line = value(&text, "Exec").replace("\\\\", "\\");
        let line = line.replace("%%", "%");
        let mut command = Command::new("sh");
        command
            .args(["-c", &line])
            .current_dir("/")
            .stdin(Stdio::null());
        isolate(&mut command, &world.home().join("user"));
        Run::of(&mut command)
    }

    fn validate(path: &Path) {
        if let Ok(output) = Command::new("desktop-file-validate").arg(path).output() {
            assert!(output.status.success(), "{output:?}");
            assert!(output.stdout.is_empty(), "{output:?}");
        }
    }

    #[test]
    fn a_shortcut_starts_the_app_from_any_folder() {
        let world = with_desktop("");
        world.publish_app("1.0.0");
        let made = paths(&world.run(&["--castoff", "shortcut", "--json"]));
        let expected = [
            desktop(&world).join("Test App.desktop"),
            menu(&world).join("org.castoff.test.desktop"),
        ];
        assert_eq!(made, expected);
        for path in &made {
            validate(path);
            let text = fs::read_to_string(path).unwrap();
            assert_eq!(value(&text, "Name"), "Test App");
            assert_eq!(value(&text, "Path"), world.home().to_str().unwrap());
            start(path, &world).assert_app("1.0.0");
        }
        assert_eq!(crate::world::mode(&made[0]), 0o755);
        assert!(world.client().join("run.sh").exists());
    }

    #[test]
    fn whatever_the_launchers_folder_is_called() {
        let strange = [
            "My Apps",
            "\u{6211}\u{7684} \u{5e94}\u{7528}",
            "100% \"a\" $HOME `id` b\\c",
            "x=y",
            "it's; #1 & (2)",
        ];
        for name in strange {
            let world = with_desktop("");
            world.publish_app("1.0.0");
            let home = world.home().join(name);
            fs::create_dir(&home).unwrap();
            for file in ["MyApp", "launcher.toml"] {
                fs::rename(world.home().join(file), home.join(file)).unwrap();
            }
            let run = |args: &[&str]| {
                let mut command = Command::new(home.join("MyApp"));
                command.args(args);
                isolate(&mut command, &world.home().join("user"));
                Run::of(&mut command)
            };
            let made = paths(&run(&["--castoff", "shortcut", "--json"]));
            for path in &made {
                validate(path);
                start(path, &world).assert_app("1.0.0");
            }
            assert!(home.join("client/run.sh").exists());
            let removed = paths(&run(&["--castoff", "shortcut", "remove", "--json"]));
            assert_eq!(removed, made);
            assert!(!made[0].exists() && !made[1].exists());
        }
    }

    #[test]
    fn files_of_others_stay_and_ours_is_made_once() {
        let world = with_desktop("");
        let others = desktop(&world).join("Test App.desktop");
        let text = "[Desktop Entry]\nType=Application\nName=Test App\nExec=/usr/bin/other\n";
        fs::write(&others, text).unwrap();
        let ours = desktop(&world).join("Test App (2).desktop");
        for _ in 0..2 {
            let run = world.run(&["--castoff", "shortcut", "--desktop"]);
            assert_eq!(run.code, Some(0), "{run:#?}");
            assert!(run.stdout.contains("Test App (2).desktop"), "{run:#?}");
        }
        assert!(!menu(&world).exists(), "only the desktop was asked for");
        assert_eq!(fs::read_dir(desktop(&world)).unwrap().count(), 2);
        // Another launcher's is not ours.
        let other = World::new();
        let mut command = other.command(&["--castoff", "shortcut", "remove", "--json"]);
        let run = Run::of(command.env("HOME", world.home().join("user")));
        assert_eq!(paths(&run), Vec::<PathBuf>::new());
        assert_eq!(
            paths(&world.run(&["--castoff", "shortcut", "remove", "--json"])),
            std::slice::from_ref(&ours)
        );
        assert!(!ours.exists());
        assert_eq!(fs::read_to_string(&others).unwrap(), text);
        let none = world.run(&["--castoff", "shortcut", "remove"]);
        assert_eq!(none.stdout, "There was no shortcut to Test App.\n");
    }

    #[test]
    fn the_desktop_is_where_the_user_has_it() {
        let world = World::new();
        let run = world.run(&["--castoff", "shortcut", "--desktop"]);
        run.assert_told("NO_SHORTCUT_PLACE");
        assert_eq!(run.code, Some(74));
        let user = world.home().join("user");
        fs::create_dir_all(user.join(".config")).unwrap();
        fs::create_dir_all(user.join("\u{684c}\u{9762}")).unwrap();
        let dirs = "XDG_DESKTOP_DIR=\"$HOME/\u{684c}\u{9762}\"\n";
        fs::write(user.join(".config/user-dirs.dirs"), dirs).unwrap();
        let made = paths(&world.run(&["--castoff", "shortcut", "--desktop", "--json"]));
        assert_eq!(made, [user.join("\u{684c}\u{9762}/Test App.desktop")]);
    }

    #[test]
    fn the_icon_is_the_apps_or_the_launchers() {
        let world = with_desktop("");
        let icon = |name: &str| {
            let made = paths(&Run::of(
                world
                    .command(&["--castoff", "shortcut", "--desktop", "--json"])
                    .env("CASTOFF_ICON", name),
            ));
            let text = fs::read_to_string(&made[0]).unwrap();
            text.contains("Icon=").then(|| value(&text, "Icon"))
        };
        fs::write(world.home().join("beside.svg"), "<svg/>").unwrap();
        fs::write(world.home().join("app.ico"), "").unwrap();
        world.write("art/app.png", "png");
        let path = |path: PathBuf| Some(path.to_str().unwrap().to_owned());
        assert_eq!(icon("art/app.png"), path(world.path("art/app.png")));
        assert_eq!(icon("beside.svg"), path(world.home().join("beside.svg")));
        assert_eq!(icon("app.ico"), None, "Linux shows no such icon");
        assert_eq!(icon("absent.png"), None);
    }
}

#[cfg(windows)]
#[test]
fn a_lnk_starts_the_launcher_and_is_removed() {
    let world = World::new();
    let run = world.run(&["--castoff", "shortcut", "--menu", "--json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let made = paths(&run);
    let again = paths(&world.run(&["--castoff", "shortcut", "--menu", "--json"]));
    assert_eq!(again, made, "one launcher has one shortcut");
    let bytes = fs::read(&made[0]).unwrap();
    let text: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let odd: Vec<u16> = bytes[1..]
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let home = world.home().file_name().unwrap().to_str().unwrap();
    let says = |text: &[u16]| String::from_utf16_lossy(text).contains(home);
    assert!(says(&text) || says(&odd), "it names the launcher's folder");
    let removed = paths(&world.run(&["--castoff", "shortcut", "remove", "--menu", "--json"]));
    assert_eq!(removed, made);
    assert!(!Path::new(&made[0]).exists());
}
