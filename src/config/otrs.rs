//! The environment of OTRS Web, understood as it stands: an app that updated itself by these variables,
//! or by the same in a `.env` file beside it, needs no launcher.toml.
//!
//! | variable | is |
//! |---|---|
//! | `APP_UPDATE_SOURCE` | `source.kind`: `github` (also without it) or `yunxiao` |
//! | `APP_UPDATE_REPO`, `APP_UPDATE_YUNXIAO_REPO` | `source.repo`, of the one kind or the other |
//! | `APP_UPDATE_GITHUB_TOKEN`, else `GITHUB_TOKEN`; `APP_UPDATE_YUNXIAO_TOKEN` | `source.token` |
//! | `APP_UPDATE_AUTO_CHECK` | false: `update.when = "manual"` |
//! | `APP_UPDATE_CHECK_INTERVAL` | `update.interval`, in hours |
//! | `APP_VERSION` | `installed_version` |
//! | `TARGET_TAG` | `update.pin` |
//!
//! With them come the facts of that app which it had in its code: its folder is the launcher's, what it
//! preserves, its database and its requirements.
//!
//! They count only where nobody else says where releases are: nothing is baked in, launcher.toml has no
//! `[source]`, `CASTOFF_SOURCE_...` is not set, and a repository is named. Everything else that the file
//! and `CASTOFF_...` say goes over them. A real variable goes over the same one in `.env`.

use std::collections::BTreeMap;
use std::path::Path;

use super::layers::Layers;
use crate::{Result, disk};

/// The largest `.env` that is read. Real ones have a few hundred bytes.
const ENV_LIMIT: usize = 64 << 10;

/// What the app had in its code.
const FACTS: &[(&str, &str)] = &[
    ("client_dir", "."),
    ("update.preserve", ".env, uploads/, database_backups/"),
    ("databases.sqlite", "db/otrs_data.db"),
    ("python.requirements", "requirements.txt"),
    ("python.environment", "foreign"),
];

/// The variables of an installation.
pub(super) struct Variables<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    file: BTreeMap<String, String>,
}

impl<'a> Variables<'a> {
    /// Those of the environment and of the `.env` file in a folder, if they name a repository.
    pub(super) fn find(folder: &Path, env: &'a dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let bytes = disk::in_use::read(&folder.join(".env")).unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap_or_default();
        let file = if text.len() > ENV_LIMIT {
            BTreeMap::new()
        } else {
            parse(&text)
        };
        let variables = Self { env, file };
        variables.repo().is_some().then_some(variables)
    }

    fn get(&self, name: &'static str) -> Option<(&'static str, String)> {
        let said = |text: &String| !text.trim().is_empty();
        let text = (self.env)(name)
            .filter(said)
            .or_else(|| self.file.get(name).filter(|text| said(text)).cloned())?;
        Some((name, text.trim().to_owned()))
    }

    fn is_yunxiao(&self) -> bool {
        self.get("APP_UPDATE_SOURCE")
            .is_some_and(|(_, kind)| !kind.eq_ignore_ascii_case("github"))
    }

    fn repo(&self) -> Option<(&'static str, String)> {
        if self.is_yunxiao() {
            self.get("APP_UPDATE_YUNXIAO_REPO")
        } else {
            self.get("APP_UPDATE_REPO")
        }
    }

    /// Lays what they say over the defaults.
    pub(super) fn lay(&self, layers: &mut Layers) -> Result<()> {
        for (key, text) in FACTS {
            layers.lay_text(key, text, "APP_UPDATE_REPO")?;
        }
        let kind = ("APP_UPDATE_SOURCE", "github".to_owned());
        let token = if self.is_yunxiao() {
            self.get("APP_UPDATE_YUNXIAO_TOKEN")
        } else {
            let own = self.get("APP_UPDATE_GITHUB_TOKEN");
            own.or_else(|| self.get("GITHUB_TOKEN"))
        };
        let off = |(name, text): (&'static str, String)| {
            let text = text.to_ascii_lowercase();
            let off = ["false", "0", "no", "off"].contains(&text.as_str());
            off.then(|| (name, "manual".to_owned()))
        };
        let hours = |(name, text): (&'static str, String)| (name, format!("{text} h"));
        let said = [
            ("source.kind", self.get("APP_UPDATE_SOURCE").or(Some(kind))),
            ("source.repo", self.repo()),
            ("source.token", token),
            (
                "update.when",
                self.get("APP_UPDATE_AUTO_CHECK").and_then(off),
            ),
            (
                "update.interval",
                self.get("APP_UPDATE_CHECK_INTERVAL").map(hours),
            ),
            ("update.pin", self.get("TARGET_TAG")),
            ("installed_version", self.get("APP_VERSION")),
        ];
        for (key, said) in said {
            if let Some((variable, text)) = said {
                let text = match key {
                    "source.kind" => text.to_ascii_lowercase(),
                    _ => text,
                };
                layers.lay_text(key, &text, variable)?;
            }
        }
        Ok(())
    }
}

/// The variables in a `.env` file, as python-dotenv reads them, but for references to others: a line
/// each, perhaps after `export`, perhaps in quotes, `#` before a remark.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let value = value.trim();
        let quoted = ['"', '\''].into_iter().find_map(|quote| {
            let (inner, _) = value.strip_prefix(quote)?.split_once(quote)?;
            Some(inner)
        });
        let plain = || {
            let end = value.find(" #").unwrap_or(value.len());
            value[..end].trim_end()
        };
        variables.insert(
            name.trim().to_owned(),
            quoted.unwrap_or_else(plain).to_owned(),
        );
    }
    variables
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::{Config, FILE_NAME, SourceKind, When};
    use crate::{Code, Result};

    fn load(dotenv: &str, file: Option<&str>, env: &[(&str, &str)]) -> Result<Config> {
        load_with(dotenv, file, None, env)
    }

    fn load_with(
        dotenv: &str,
        file: Option<&str>,
        baked: Option<&str>,
        env: &[(&str, &str)],
    ) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".env"), dotenv).unwrap();
        if let Some(file) = file {
            fs::write(folder.path().join(FILE_NAME), file).unwrap();
        }
        Config::load(folder.path(), baked, &|name| {
            let found = env.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        })
    }

    const OWN: &str = "\u{feff}# OTRS Web\nexport APP_VERSION='1.2.9'\nAPP_UPDATE_SOURCE=github\n\
        APP_UPDATE_REPO=\"Nick/otrs-web\" # where\nAPP_UPDATE_GITHUB_TOKEN=t0k # mine\n\
        APP_UPDATE_AUTO_CHECK=true\nAPP_UPDATE_CHECK_INTERVAL=24\nSECRET_KEY=a=b#c\nodd line\n";

    #[test]
    fn an_installation_of_otrs_web_needs_no_configuration() {
        let config = load(OWN, None, &[]).unwrap();
        assert_eq!(config.source.kind, SourceKind::Github);
        assert_eq!(config.source.url, "https://api.github.com");
        assert_eq!(config.source.repo, "Nick/otrs-web");
        assert_eq!(config.source.token.as_deref(), Some("t0k"));
        assert_eq!(config.update.when, When::BeforeLaunch);
        assert_eq!(config.update.interval.as_secs(), 24 * 3600);
        assert_eq!(config.installed_version.unwrap().as_str(), "1.2.9");
        assert_eq!(config.client_dir, std::path::Path::new("."));
        let preserve = [".env", "uploads/", "database_backups/"];
        assert_eq!(config.update.preserve, preserve);
        assert_eq!(config.databases.sqlite, ["db/otrs_data.db"]);
        assert!(config.origins.of("source.repo").to_string() == "APP_UPDATE_REPO");
    }

    #[test]
    fn aliyuns_codeup_is_understood_too() {
        let env = [
            ("APP_UPDATE_SOURCE", "Yunxiao"),
            ("APP_UPDATE_YUNXIAO_REPO", "5f1a/otrs"),
            ("APP_UPDATE_YUNXIAO_TOKEN", "y"),
            ("APP_UPDATE_REPO", "a/b"),
            ("GITHUB_TOKEN", "g"),
            ("APP_UPDATE_AUTO_CHECK", "False"),
            ("TARGET_TAG", "release/v1.2.6"),
        ];
        let config = load("", None, &env).unwrap();
        assert_eq!(config.source.kind, SourceKind::Codeup);
        assert_eq!(config.source.repo, "5f1a/otrs");
        assert_eq!(config.source.token.as_deref(), Some("y"));
        assert_eq!(config.update.when, When::Manual);
        assert_eq!(config.update.pin, "1.2.6".parse().ok());
    }

    #[test]
    fn a_variable_goes_over_the_file_and_a_configuration_over_both() {
        let env = [("APP_UPDATE_REPO", "over/it"), ("GITHUB_TOKEN", "g")];
        let without_token = OWN.replace("APP_UPDATE_GITHUB_TOKEN=t0k", "");
        let config = load(&without_token, Some("[update]\nkeep = 7\n"), &env).unwrap();
        assert_eq!(config.source.repo, "over/it");
        assert_eq!(config.source.token.as_deref(), Some("g"));
        assert_eq!(config.update.keep, 7);
        // Whoever says where releases are means that alone.
        let own = "[source]\nurl = 'https://a.example/'\n";
        let config = load(OWN, Some(own), &env).unwrap();
        assert_eq!(config.source.kind, SourceKind::Check);
        assert!(config.source.token.is_none() && config.installed_version.is_none());
        assert_eq!(config.client_dir, std::path::Path::new("client"));
        let config = load_with(OWN, None, Some("source.url = 'https://a.example/'"), &env);
        assert!(config.unwrap().source.token.is_none());
        let url = [("CASTOFF_SOURCE_URL", "https://a.example/")];
        assert!(load(OWN, None, &url).unwrap().source.token.is_none());
    }

    #[test]
    fn what_cannot_be_understood_is_named_by_its_variable() {
        let env = [("APP_UPDATE_CHECK_INTERVAL", "daily")];
        let error = load(OWN, None, &env).unwrap_err();
        assert_eq!(error.code(), Code::ConfigInvalid);
        assert!(
            error.to_string().contains("APP_UPDATE_CHECK_INTERVAL"),
            "{error}"
        );
        // Without a repository they say nothing.
        let error = load("APP_VERSION=1.0\n", None, &[("GITHUB_TOKEN", "g")]).unwrap_err();
        assert_eq!(error.code(), Code::ConfigMissing);
    }
}
