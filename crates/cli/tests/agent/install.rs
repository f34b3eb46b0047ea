//! `castoff agent install`: the unit, and what somebody has made of it.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::world::World;

/// The device's `/` is the world's folder.
fn install(world: &World, more: &[&str]) -> Output {
    let root = world.home().to_str().unwrap();
    let arguments = ["agent", "install", "--root", root];
    let arguments = [&arguments[..], more].concat();
    world.command(&arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn unit(world: &World) -> PathBuf {
    let units = world.home().join("etc/systemd/system");
    units.join("castoff-agent.service")
}

#[test]
fn a_unit_is_written_once_and_names_the_devices_paths() {
    let world = World::new();
    let toml = world.opt().join("agent.toml");
    fs::remove_file(&toml).unwrap();
    let first = said(&install(&world, &[]));
    assert!(
        first.contains("castoff-agent.service is written"),
        "{first}"
    );
    assert!(first.contains("agent.toml is written"), "{first}");
    assert!(first.contains(" enable castoff-agent"), "{first}");
    let text = fs::read_to_string(unit(&world)).unwrap();
    let program = fs::canonicalize(env!("CARGO_BIN_EXE_castoff")).unwrap();
    let start = format!("\nExecStart={} agent --dir /opt\n", program.display());
    assert!(text.contains(&start), "{text}");
    // The log is where launcher.toml says, seen from the device.
    assert!(text.contains("\nReadWritePaths=/opt /logs\n"), "{text}");
    assert!(world.home().join("logs").is_dir());

    // The second time there is nothing to do.
    let before = fs::metadata(unit(&world)).unwrap().modified().unwrap();
    let second = said(&install(&world, &[]));
    assert!(second.contains("is as it should be"), "{second}");
    assert!(second.contains("agent.toml stays as it is"), "{second}");
    assert!(!second.contains("written"), "{second}");
    let after = fs::metadata(unit(&world)).unwrap().modified().unwrap();
    assert_eq!(before, after);
}

#[test]
fn services_that_are_updated_in_place_wait_for_an_undo() {
    let world = crate::otrs::installation("");
    let told = said(&install(&world, &[]));
    let path = world
        .home()
        .join("etc/systemd/system/otrs.service.d/castoff.conf");
    assert!(told.contains("castoff.conf is written"), "{told}");
    let text = fs::read_to_string(path).unwrap();
    let condition = "\nConditionPathExists=!/opt/.castoff/journal.json\n";
    assert!(text.contains(condition), "{text}");
    // One whose versions are folders is whole at any time.
    let world = World::new();
    world.name_services();
    said(&install(&world, &[]));
    let units = fs::read_dir(world.home().join("etc/systemd/system")).unwrap();
    assert_eq!(units.count(), 1);
}

#[test]
fn services_without_a_unit_get_an_example_in_their_order() {
    let world = World::new();
    world.name_services();
    let units = world.home().join("etc/systemd/system");
    fs::create_dir_all(&units).unwrap();
    let told = said(&install(&world, &[]));
    assert!(
        told.contains("services.example/worker.service is written"),
        "{told}"
    );
    let read = |name: &str| {
        let path = world.opt().join("services.example").join(name);
        fs::read_to_string(path).unwrap_or_default()
    };
    let second = read("device-api.service");
    for line in [
        "After=worker.service network.target",
        "Wants=worker.service",
        "ConditionPathExists=/opt/versions/current",
        "ExecStart=/opt/versions/current/bin/device-api",
    ] {
        assert!(second.lines().any(|it| it == line), "{line}: {second}");
    }
    assert!(!read("worker.service").contains("Wants="));
    assert!(!second.contains('@'));
    // One that is there, or was written and changed, is left alone.
    let path = world.opt().join("services.example/worker.service");
    fs::write(&path, "mine").unwrap();
    fs::remove_file(world.opt().join("services.example/device-api.service")).unwrap();
    fs::write(units.join("device-api.service"), "theirs").unwrap();
    said(&install(&world, &[]));
    assert_eq!(read("worker.service"), "mine");
    assert_eq!(read("device-api.service"), "");
}

#[test]
fn an_image_keeps_its_log_in_itself() {
    let world = World::new();
    let toml = world.opt().join("launcher.toml");
    let text = fs::read_to_string(&toml).unwrap();
    for (line, folder) in [
        ("log_dir = \"/var/log/device\"", "var/log/device"),
        // A service of the system has no user's folder.
        ("", "var/log/castoff"),
    ] {
        fs::write(&toml, text.replace("log_dir = \"../logs\"", line)).unwrap();
        said(&install(&world, &["--force"]));
        assert!(world.home().join(folder).is_dir(), "{line}");
        let unit = fs::read_to_string(unit(&world)).unwrap();
        let environment = format!("\nEnvironment=CASTOFF_LOG_DIR=/{folder}\n");
        assert!(unit.contains(&environment), "{unit}");
    }
}

#[test]
fn a_unit_that_somebody_has_changed_stays_until_it_is_forced() {
    let world = World::new();
    said(&install(&world, &[]));
    let ours = fs::read_to_string(unit(&world)).unwrap();
    let theirs = ours.replace("MemoryMax=512M", "MemoryMax=1G");
    fs::write(unit(&world), &theirs).unwrap();
    let told = said(&install(&world, &[]));
    assert!(told.contains("- MemoryMax=1G"), "{told}");
    assert!(told.contains("+ MemoryMax=512M"), "{told}");
    assert_eq!(fs::read_to_string(unit(&world)).unwrap(), theirs);
    let told = said(&install(&world, &["--force"]));
    assert!(told.contains("is replaced"), "{told}");
    assert_eq!(fs::read_to_string(unit(&world)).unwrap(), ours);
}

#[test]
fn what_would_not_run_is_not_installed() {
    let world = World::new();
    fs::write(world.opt().join("agent.toml"), "listne = 1").unwrap();
    let refused = install(&world, &[]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("CONFIG_INVALID"));
    assert!(!unit(&world).exists());
}
