//! A real browser, driven by chromedriver as W3C's WebDriver says. Without them tests are left out.
//!
//! With `CASTOFF_SCREENSHOTS=DIR` in the environment, pages that are looked at are drawn into that folder.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use ureq::Agent;

/// How long is waited for what a page is to show.
const PATIENCE: Duration = Duration::from_mins(1);

/// What chromedriver calls an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Whether an element was of a page that another has taken the place of since.
fn is_of_a_page_that_went(said: &Value) -> bool {
    let gone = ["stale element reference", "no such element"];
    // In the very instant it goes, chromedriver knows no name for it.
    let going = "does not belong to the document";
    let has = |key: &str, words: &str| said[key].as_str().is_some_and(|it| it.contains(words));
    gone.iter().any(|words| has("error", words)) || has("message", going)
}

/// A browser with one window. Dropped, it ends.
pub struct Browser {
    driver: Child,
    agent: Agent,
    /// The address of its session.
    session: String,
}

impl Browser {
    /// Starts one, in which scripts run or do not. `None`: there is none on this machine, which is said.
    ///
    /// # Panics
    ///
    /// When there is one, and it does not start.
    #[expect(
        clippy::print_stderr,
        reason = "what is left out is said where tests say it"
    )]
    pub fn start(with_scripts: bool) -> Option<Self> {
        let chromium = ["chromium", "google-chrome", "chromium-browser"];
        let found = chromium.iter().find_map(|name| on_path(name));
        let (Some(chromium), Some(driver)) = (found, on_path("chromedriver")) else {
            eprintln!("left out: there is no chromium with chromedriver");
            return None;
        };
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                let line = line.unwrap();
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver says its port");
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(PATIENCE * 2))
            .build()
            .into();
        let mut browser = Self {
            driver,
            agent,
            session: format!("http://127.0.0.1:{port}/session"),
        };
        let scripts = if with_scripts { 1 } else { 2 };
        let options = json!({
            "binary": chromium,
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                "--no-proxy-server", "--hide-scrollbars", "--lang=en"],
            "prefs": {
                "profile.managed_default_content_settings.javascript": scripts,
                "intl.accept_languages": "en",
            },
        });
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "timeouts": {"implicit": PATIENCE.as_millis()},
        }}});
        let begun = browser.tell("", &wanted);
        browser.session = format!(
            "{}/{}",
            browser.session,
            begun["sessionId"].as_str().unwrap()
        );
        Some(browser)
    }

    /// Sends a command, and gives what it answers.
    #[track_caller]
    fn tell(&self, command: &str, body: &Value) -> Value {
        let address = format!("{}{command}", self.session);
        let sent = self.agent.post(&address).send(body.to_string());
        Self::value(sent.unwrap())
    }

    #[track_caller]
    fn value(answer: ureq::http::Response<ureq::Body>) -> Value {
        let (done, value) = Self::answered(answer);
        assert!(done, "{value}");
        value
    }

    /// Whether a command was done, and what it has given; or what has come in the way.
    fn answered(mut answer: ureq::http::Response<ureq::Body>) -> (bool, Value) {
        let body = answer.body_mut().with_config().limit(u64::MAX);
        let mut answered: Value = serde_json::from_slice(&body.read_to_vec().unwrap()).unwrap();
        (answer.status().is_success(), answered["value"].take())
    }

    /// Opens a page.
    #[track_caller]
    pub fn open(&self, address: &str) {
        self.tell("/url", &json!({"url": address}));
    }

    /// Waits for the first element of this CSS selector.
    #[track_caller]
    fn find(&self, selector: &str) -> String {
        let wanted = json!({"using": "css selector", "value": selector});
        let found = self.tell("/element", &wanted);
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks it, and waits for the page that this opens.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.tell(&format!("/element/{element}/click"), &json!({}));
    }

    /// Types into it; into a choice of files, a file's path.
    #[track_caller]
    pub fn enter(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.tell(&format!("/element/{element}/value"), &json!({"text": text}));
    }

    /// Waits until it shows what is wanted, and gives that. The page that a click leads to may come a
    /// moment after the click, and what was found before is then gone.
    ///
    /// # Panics
    ///
    /// When it does not come.
    #[track_caller]
    pub fn await_shown(&self, selector: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let element = self.find(selector);
            let address = format!("{}/element/{element}/text", self.session);
            let (done, said) = Self::answered(self.agent.get(&address).call().unwrap());
            let text = if done {
                said.as_str().unwrap().to_owned()
            } else {
                assert!(is_of_a_page_that_went(&said), "{said}");
                "nothing any more".to_owned()
            };
            if done && wanted(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{selector} shows {text:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until an element of this name shows something with this in it.
    #[track_caller]
    pub fn await_text(&self, name: &str, text: &str) {
        let wanted = format!("//{name}[contains(., '{text}')]");
        self.tell("/element", &json!({"using": "xpath", "value": wanted}));
    }

    /// What a script gives.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.tell("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Makes uploads as slow as so many bytes a second.
    pub fn slow_uploads(&self, bytes: u64) {
        let conditions = json!({
            "offline": false, "latency": 0, "download_throughput": -1, "upload_throughput": bytes,
        });
        let body = json!({"network_conditions": conditions});
        self.tell("/chromium/network_conditions", &body);
    }

    /// Makes the page as wide as this, in CSS pixels.
    pub fn resize(&self, width: u32) {
        let is_phone = width < 600;
        self.develop(
            "Emulation.setDeviceMetricsOverride",
            &json!({
                "width": width,
                "height": 800,
                "mobile": is_phone,
                "deviceScaleFactor": if is_phone { 2 } else { 1 },
            }),
        );
    }

    /// Makes the system light or dark.
    pub fn colour(&self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.develop(
            "Emulation.setEmulatedMedia",
            &json!({"features": [feature]}),
        );
    }

    /// Draws the whole page into a PNG of this name, if that is wanted.
    ///
    /// # Panics
    ///
    /// When it cannot be drawn or written.
    pub fn draw(&self, name: &str) {
        let Some(folder) = std::env::var_os("CASTOFF_SCREENSHOTS") else {
            return;
        };
        let drawn = self.develop(
            "Page.captureScreenshot",
            &json!({"format": "png", "captureBeyondViewport": true}),
        );
        let drawn = BASE64_STANDARD.decode(drawn["data"].as_str().unwrap());
        let path = Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(path, drawn.unwrap()).unwrap();
    }

    /// Looks whether the page needs to be scrolled sideways at any of these widths; draws it in each,
    /// light and dark. In the end it is as wide as the first.
    ///
    /// # Panics
    ///
    /// When it does.
    #[track_caller]
    pub fn look(&self, name: &str, widths: [u32; 2]) {
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(60)
            .collect();
        for width in widths {
            self.resize(width);
            let got = self.run("return [document.documentElement.scrollWidth, innerWidth]");
            assert_eq!(got, json!([width, width]), "{name}");
            for colours in ["light", "dark"] {
                self.colour(colours);
                self.draw(&format!("{name}-{width}-{colours}"));
            }
        }
        self.resize(widths[0]);
    }

    /// Sends a command of Chromium's own.
    fn develop(&self, command: &str, params: &Value) -> Value {
        self.tell(
            "/goog/cdp/execute",
            &json!({"cmd": command, "params": params}),
        )
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser is the driver's child, and is ended by it.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn on_path(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut folders = std::env::split_paths(&path);
    folders.find_map(|folder| {
        let file = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        file.is_file().then_some(file)
    })
}
