//! The trial: what is to be shown, and the verdicts.

use castoff_testkit::http::{Reply, Server};

use super::*;
use crate::fetch::Client;
use crate::fetch::tests::network;

/// An entry point of the system's own shell.
const ENTRY: &str = if cfg!(windows) { "run.bat" } else { "run.sh" };

/// An app of that script.
fn app(unix: &str, windows: &str) -> App {
    App::new().file(ENTRY, if cfg!(windows) { windows } else { unix })
}

/// One that ends with this code.
fn ending(code: u32) -> App {
    app(&format!("exit {code}"), &format!("@exit {code}\r\n"))
}

/// One that runs until there is a file `end`, and then ends with 5. Left behind by a test that
/// fails, it ends by itself.
fn running() -> App {
    running_after("", "")
}

fn running_after(unix: &str, windows: &str) -> App {
    app(
        &format!(
            "{unix}\nfor x in 1 2 3 4 5 6; do for y in 1 2 3 4 5 6 7 8 9 0; do\n\
             [ -e end ] && exit 5; sleep 0.5; done; done\n"
        ),
        &format!(
            "@echo off\r\n{windows}\r\nfor /l %%x in (1,1,30) do (\r\n\
             if exist end exit 5\r\nping -n 2 127.0.0.1 >nul\r\n)\r\n"
        ),
    )
}

/// Judges an app that runs on; it must still do so after that, and end only when it is told.
fn judge_running(app: &App, proof: &Proof<'_>) -> Option<Verdict> {
    let mut running = app.resolve(ENTRY).unwrap().spawn().unwrap();
    let verdict = running.judge(&app.run, proof).unwrap();
    fs::write(app.folder.join("end"), "").unwrap();
    assert_eq!(
        running.wait().unwrap(),
        End::Code(5),
        "it was not left alone"
    );
    verdict
}

const GOOD: Option<Verdict> = Some(Verdict::Good { ended: None });

/// A time in which nothing is shown.
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn exit_codes_decide_otherwise_where_they_are_listed() {
    let judge = |code, ok: &[u32], fail: &[u32]| ending(code).codes(ok, fail).judge(ENTRY);
    assert_eq!(judge(3, &[], &[]), Verdict::Unproven { code: 3 });
    assert_eq!(judge(3, &[2, 3], &[]), Verdict::Good { ended: Some(3) });
    let how = "exit code 3".to_owned();
    assert_eq!(judge(3, &[2], &[4, 3]), Verdict::Failed { how });
    assert!(matches!(judge(0, &[], &[0]), Verdict::Failed { .. }));
}

#[test]
fn an_early_end_is_good_only_for_who_has_to_be_alive() {
    let file = App::new().folder.join("ready");
    let proof = Proof::Ready(&file);
    let judge = |app: App| app.judge_by(ENTRY, &proof).unwrap();
    assert_eq!(ending(0).judge(ENTRY), Verdict::Good { ended: Some(0) });
    assert_eq!(judge(ending(0)), Verdict::Unproven { code: 0 });
    let listed = ending(0).codes(&[0], &[]);
    assert_eq!(judge(listed), Verdict::Good { ended: Some(0) });
}

#[test]
fn a_file_says_that_the_app_is_ready() {
    let app = running_after("> ready", "type nul > ready");
    let file = app.folder.join("ready");
    assert_eq!(judge_running(&app, &Proof::Ready(&file)), GOOD);
}

#[test]
fn an_app_that_is_ready_and_ends_was_ready() {
    let app = app("> ready; exit 1", "@type nul > ready\r\n@exit 1\r\n");
    let file = app.folder.join("ready");
    let verdict = app.judge_by(ENTRY, &Proof::Ready(&file));
    assert!(matches!(verdict, Some(Verdict::Good { .. })), "{verdict:?}");
}

#[test]
fn an_app_that_is_never_ready_is_left_running() {
    let mut app = running();
    app.run.confirm_within = SHORT;
    let file = app.folder.join("ready");
    assert_eq!(judge_running(&app, &Proof::Ready(&file)), None);
}

#[test]
fn an_address_is_asked_until_it_answers_with_200() {
    let server = Server::start();
    server.route("/health", Reply::status(503).times(1));
    server.route("/health", Reply::status(204).times(1));
    server.route("/health", Reply::status(200));
    let url = server.url("/health");
    let client = Client::bare(&network());
    let proof = Proof::Http(&client, &url);
    assert_eq!(judge_running(&running(), &proof), GOOD);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn another_answer_or_none_is_no_proof() {
    let server = Server::start();
    server.route("/moved", Reply::redirect(302, "/health"));
    server.route("/silent", Reply::status(200).silent());
    server.route("/health", Reply::status(200));
    let urls = [
        server.url("/moved"),
        server.url("/silent"),
        "http://127.0.0.1:1/".into(),
    ];
    for url in urls {
        let mut app = running();
        app.run.confirm_within = SHORT;
        let client = Client::bare(&network());
        let proof = Proof::Http(&client, &url);
        assert_eq!(judge_running(&app, &proof), None, "{url}");
    }
    let asked = server.requests();
    assert!(asked.iter().all(|it| it.path() != "/health"), "{asked:?}");
}

#[test]
fn a_command_is_run_until_it_succeeds_in_the_apps_folder_and_environment() {
    // The first run fails and leaves a file, by which the second one knows.
    let line = if cfg!(windows) {
        "if exist \"once %KEPT%\" (exit 0) else (type nul > \"once %KEPT%\" & exit 1)"
    } else {
        "[ -e \"once $KEPT\" ] || { > \"once $KEPT\"; exit 1; }"
    };
    let app = running().set("KEPT", "a b");
    assert_eq!(judge_running(&app, &Proof::Command(line)), GOOD);
    assert!(app.folder.join("once a b").exists());
}

#[test]
fn a_command_that_fails_is_no_proof() {
    let mut app = running();
    app.run.confirm_within = SHORT;
    assert_eq!(judge_running(&app, &Proof::Command("exit 1")), None);
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_that_hangs_is_ended_with_all_that_it_has_started() {
    let mut app = running();
    app.run.confirm_within = Duration::from_secs(3);
    let line = "sleep 600 & echo $! > pid; wait";
    assert_eq!(judge_running(&app, &Proof::Command(line)), None);
    let pid = app.read_soon("pid");
    let start = Instant::now();
    let alive = || {
        let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        // An orphan that nobody has waited for yet is dead all the same.
        state.is_ok_and(|state| !state.contains(") Z "))
    };
    while alive() {
        assert!(start.elapsed() < LONG, "it still runs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_ready_file_is_told_and_nobody_elses() {
    let app = App::new().set("CASTOFF_READY_FILE", "somebody else's");
    let told = |launch: &Launch<'_>| {
        let environment = crate::entry::environment(launch, None);
        crate::entry::variable(&environment, "CASTOFF_READY_FILE").map(OsString::from)
    };
    assert_eq!(told(&app.launch(ENTRY)), None);
    let launch = Launch {
        ready_file: Some(Path::new("/x/ready")),
        ..app.launch(ENTRY)
    };
    assert_eq!(told(&launch), Some("/x/ready".into()));
}
