//! Real environments, made by the Python of this machine, with packages made here: no test asks the
//! network.

use std::time::Duration;

use castoff_testkit::package::Package;

use super::*;
use crate::Code;

/// A client folder, and a folder of packages to install from.
struct World {
    root: tempfile::TempDir,
    folder: ClientFolder,
    environment: Vec<(OsString, OsString)>,
    config: Config,
}

impl World {
    /// `None`, and says so, where there is no Python that can make environments.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn new(kind: &str) -> Option<Self> {
        let mut probe = Command::new(if cfg!(windows) { "python" } else { "python3" });
        let probe = probe.args(["-c", "import venv, ensurepip"]).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: there is no Python with venv here");
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        let client = root.path().join("My App 客户端");
        fs::create_dir(&client).unwrap();
        let text = format!(
            "source.url = 'https://updates.example.com/'\n\
             [python]\nrequirements = 'requirements.txt'\nenvironment = '{kind}'\n"
        );
        let environment: Vec<_> = std::env::vars_os()
            // What this machine says about indexes is not what is tried here.
            .filter(|(name, _)| !name.to_string_lossy().starts_with("PIP_"))
            .collect();
        let world = Self {
            folder: ClientFolder::new(client, "local_version.json"),
            environment,
            config: Config::load(root.path(), Some(&text), &|_| None).unwrap(),
            root,
        };
        for version in ["1.0", "2.0"] {
            world.wheel(version);
        }
        Some(world)
    }

    /// Makes a package `greeting` of a version, as pip takes it.
    fn wheel(&self, version: &str) {
        let info = format!("greeting-{version}.dist-info");
        let wheel = Package::new(version)
            .file("greeting.py", format!("VERSION = '{version}'\n"))
            .file(
                &format!("{info}/METADATA"),
                format!("Metadata-Version: 2.1\nName: greeting\nVersion: {version}\n"),
            )
            .file(
                &format!("{info}/WHEEL"),
                "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            .file(
                &format!("{info}/RECORD"),
                format!("greeting.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"),
            )
            .build();
        let name = format!("greeting-{version}-py3-none-any.whl");
        fs::write(self.root.path().join(name), wheel.bytes).unwrap();
    }

    /// What the app needs from now on.
    fn require(&self, folder: &Path, what: &str) {
        let packages = self.root.path().display();
        let text = format!("--no-index\n--find-links \"{packages}\"\n{what}\n");
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("requirements.txt"), text).unwrap();
    }

    fn app_dir(&self) -> &Path {
        self.folder.root()
    }

    fn prepare(&self, staged: Option<&Path>) -> Result<()> {
        let runner = Runner {
            environment: &self.environment,
            timeout: Duration::from_mins(5),
            keep_open: None,
        };
        prepare(&self.folder, &self.config, staged, self.app_dir(), &runner)
    }

    fn python(&self) -> Option<PathBuf> {
        python_for(&self.folder, &self.config, self.app_dir())
    }

    /// From now on no interpreter is found: whoever looks for one fails.
    fn hide_python(&mut self) {
        self.config.run.python = Some("no-such-python".into());
    }
}

/// The version of the package that an interpreter sees.
fn greeting(python: &Path) -> String {
    let output = Command::new(python)
        .args(["-I", "-c", "import greeting; print(greeting.VERSION)"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn there_is_an_environment_for_each_state_of_the_file() {
    let Some(mut world) = World::new("own") else {
        return;
    };
    world.require(world.app_dir(), "greeting==1.0");
    assert_eq!(world.python(), None);
    let interpreter = || {
        interpreter(
            &world.folder,
            &world.config,
            world.app_dir(),
            &world.environment,
        )
        .unwrap()
    };
    let foreign = interpreter();
    world.prepare(None).unwrap();
    let one = world.python().unwrap();
    assert_eq!(interpreter(), one);
    assert_ne!(foreign, one);
    assert_eq!(greeting(&one), "1.0");

    // What is staged comes before what is in place, which is as it was until the commit.
    let staged = world.root.path().join("staged");
    world.require(&staged, "greeting==2.0");
    world.prepare(Some(&staged)).unwrap();
    assert_eq!(world.python(), Some(one.clone()));
    world.require(world.app_dir(), "greeting==2.0");
    let two = world.python().unwrap();
    assert_eq!(
        (greeting(&one), greeting(&two)),
        ("1.0".into(), "2.0".into())
    );

    // Neither staying nor going back needs an interpreter or a package any more.
    world.hide_python();
    world.prepare(Some(&staged)).unwrap();
    world.require(world.app_dir(), "greeting==1.0");
    world.prepare(None).unwrap();
    assert_eq!(world.python(), Some(one.clone()));

    // An environment without its mark is no environment.
    let place = one.parent().unwrap().parent().unwrap();
    fs::remove_file(place.join(MARK)).unwrap();
    assert_eq!(world.python(), None);
    let error = world.prepare(None).unwrap_err();
    assert_eq!(error.code(), Code::InterpreterMissing);
    world.config.run.python = None;
    fs::write(place.join("half-made"), "").unwrap();
    world.prepare(None).unwrap();
    assert_eq!(world.python(), Some(one.clone()));
    assert!(!place.join("half-made").exists(), "made afresh");

    let used = requirements(&world.config, &[world.app_dir()]).unwrap();
    prune(&world.folder, used.as_slice()).unwrap();
    assert!(one.exists() && !two.exists());
}

#[test]
fn a_foreign_interpreter_gets_what_the_file_names_and_the_old_again() {
    let Some(mut world) = World::new("foreign") else {
        return;
    };
    let python = if cfg!(windows) { "python" } else { "python3" };
    let venv = world.app_dir().join(".venv");
    let made = Command::new(python)
        .args(["-m", "venv"])
        .arg(&venv)
        .status();
    assert!(made.unwrap().success());
    let python = venv.join(INTERPRETER);
    for version in ["1.0", "2.0", "1.0"] {
        world.require(world.app_dir(), &format!("greeting=={version}"));
        world.prepare(None).unwrap();
        assert_eq!(greeting(&python), version);
    }
    assert_eq!(world.python(), None, "the one that is found anyway");
    // What cannot be installed leaves nobody sure of what is there.
    world.require(world.app_dir(), "greeting==3.0");
    assert_eq!(
        world.prepare(None).unwrap_err().code(),
        Code::DependenciesFailed
    );
    world.require(world.app_dir(), "greeting==1.0");
    world.prepare(None).unwrap();
    world.hide_python();
    world.prepare(None).unwrap();
}

#[test]
fn what_cannot_be_installed_is_named_and_leaves_no_environment() {
    let Some(world) = World::new("own") else {
        return;
    };
    world.require(world.app_dir(), "greeting==3.0");
    let error = world.prepare(None).unwrap_err();
    assert_eq!(error.code(), Code::DependenciesFailed);
    let said = error.to_string();
    assert!(
        said.contains("pip: exit code 1") && said.contains("greeting==3.0"),
        "{said}"
    );
    assert_eq!(world.python(), None);
    assert_eq!(fs::read_dir(all(&world.folder)).unwrap().count(), 0);
}

#[test]
fn nothing_is_done_without_a_file_of_requirements() {
    let Some(mut world) = World::new("own") else {
        return;
    };
    world.prepare(None).unwrap();
    world.require(world.app_dir(), "greeting==1.0");
    world.config.python.requirements = None;
    world.prepare(None).unwrap();
    assert_eq!(
        requirements(&world.config, &[world.app_dir()]).unwrap(),
        None
    );
    prune(&world.folder, &[]).unwrap();
    assert!(!world.folder.own().exists());
}
