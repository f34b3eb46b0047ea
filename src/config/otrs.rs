//! The environment of OTRS Web, understood as it stands: an app that updated itself by these variables,
//! or by the same in a `.env` file beside it, needs no launcher.toml.
//!
//! | variable | is |
//! |---|---|
//! | `APP_UPDATE_SOURCE` | `source.kind`: `github` (also without it) or `yunxiao` |
//! | `APP_UPDATE_REPO`, `APP_UPDATE_YUNXIAO_REPO` | `source.repo`, of the one kind or the other |
//! | `APP_UPDATE_GITHUB_TOKEN`, else `GITHUB_TOKEN`; `APP_UPDATE_YUNXIAO_TOKEN` | `source.token` |
//! | `APP_UPDATE_AUTO_CHECK` | false: `update.when = "manual"` |
//! | `APP_UPDATE_CHECK_INTERVAL` | `update.interval`, in hours; 30 days at the most |
//! | `APP_VERSION` | `installed_version`, if it is a version |
//! | `TARGET_TAG` | `update.pin` |
//!
//! With them come the facts of that app which it had in its code: its folder is the launcher's, what it
//! preserves, its database and its requirements.
//!
//! They count only where nobody else says where releases are: nothing is baked in, launcher.toml has no
//! `[source]`, none of `CASTOFF_SOURCE_URL`, `_KIND` and `_REPO` is set, and a repository is named. Everything else that the file
//! and `CASTOFF_...` say goes over them. A real variable goes over the same one in `.env`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::layers::Layers;
use crate::version::Version;
use crate::{Error, Result, disk};

/// The largest `.env` that is read. Real ones have a few hundred bytes.
const ENV_LIMIT: u64 = 64 << 10;

/// The longest `update.interval`.
const MOST_HOURS: u64 = 30 * 24;

/// The variable that says what kind of source there is.
const KIND: &str = "APP_UPDATE_SOURCE";

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
        let path = folder.join(".env");
        // A pipe or a device of that name would be waited for.
        let is_small = fs::metadata(&path).is_ok_and(|it| it.is_file() && it.len() <= ENV_LIMIT);
        let bytes = is_small.then(|| disk::in_use::read(&path).unwrap_or_default());
        // A remark in another encoding is no reason to know nothing.
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let variables = Self {
            env,
            file: parse(&text),
        };
        variables.repo().is_some().then_some(variables)
    }

    fn get(&self, name: &'static str) -> Option<(&'static str, String)> {
        let said = |text: &String| !text.trim().is_empty();
        let text = (self.env)(name)
            .filter(said)
            .or_else(|| self.file.get(name).filter(|text| said(text)).cloned())?;
        Some((name, text.trim().to_owned()))
    }

    /// The kind of source; `None`: one that the app did not know, whose repository and token would be
    /// anybody's guess.
    fn kind(&self) -> Option<&'static str> {
        let Some((_, kind)) = self.get(KIND) else {
            return Some("github");
        };
        match kind.to_ascii_lowercase().as_str() {
            "github" => Some("github"),
            "yunxiao" | "codeup" => Some("codeup"),
            _ => None,
        }
    }

    fn repo(&self) -> Option<(&'static str, String)> {
        let github = || self.get("APP_UPDATE_REPO");
        let yunxiao = || self.get("APP_UPDATE_YUNXIAO_REPO");
        match self.kind() {
            Some("github") => github(),
            Some(_) => yunxiao(),
            None => github().or_else(yunxiao),
        }
    }

    /// Lays what they say over the defaults.
    pub(super) fn lay(&self, layers: &mut Layers) -> Result<()> {
        for (key, text) in FACTS {
            layers.lay_text(key, text, "APP_UPDATE_REPO")?;
        }
        let Some(kind) = self.kind() else {
            return Err(Error::ConfigInvalid {
                place: KIND.to_owned(),
                problem: "must be `github` or `yunxiao`".to_owned(),
                nearest: None,
            });
        };
        let token = if kind == "github" {
            let own = self.get("APP_UPDATE_GITHUB_TOKEN");
            own.or_else(|| self.get("GITHUB_TOKEN"))
        } else {
            self.get("APP_UPDATE_YUNXIAO_TOKEN")
        };
        let off = |(name, text): (&'static str, String)| {
            let text = text.to_ascii_lowercase();
            let off = ["false", "0", "no", "off"].contains(&text.as_str());
            off.then(|| (name, "manual".to_owned()))
        };
        let hours = |(name, text): (&'static str, String)| {
            let most = text.parse::<u64>().map(|hours| hours.min(MOST_HOURS));
            (
                name,
                format!("{} h", most.map_or(text, |hours| hours.to_string())),
            )
        };
        // Some are told what no version is, and were never asked.
        let is_version = |(_, text): &(&str, String)| text.parse::<Version>().is_ok();
        let said = [
            ("source.kind", Some((KIND, kind.to_owned()))),
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
            (
                "installed_version",
                self.get("APP_VERSION").filter(is_version),
            ),
        ];
        for (key, said) in said {
            if let Some((variable, text)) = said {
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
            let end = value.match_indices('#').map(|(at, _)| at);
            let end = end
                .into_iter()
                .find(|at| value[..*at].ends_with(char::is_whitespace));
            value[..end.unwrap_or(value.len())].trim_end()
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
    fn what_the_app_ran_with_is_no_fault() {
        let own =
            "APP_UPDATE_REPO=a/b\t# mine\nAPP_VERSION=dev\nAPP_UPDATE_CHECK_INTERVAL=100000\n";
        let config = load(own, None, &[]).unwrap();
        assert_eq!(config.source.repo, "a/b");
        assert!(config.installed_version.is_none());
        assert_eq!(config.update.interval.as_secs(), 30 * 24 * 3600);
        // The environment alone may say it all.
        let env = [
            ("CASTOFF_SOURCE_KIND", "gitea"),
            ("CASTOFF_SOURCE_REPO", "a/c"),
            ("CASTOFF_SOURCE_URL", "https://a.example"),
        ];
        for env in [&env[..], &[("CASTOFF_SOURCE_KIND", "github"), env[1]]] {
            assert_eq!(load(own, None, env).unwrap().source.repo, "a/c");
        }
    }

    #[test]
    fn no_token_goes_to_another_service() {
        let own = "APP_UPDATE_YUNXIAO_REPO=a/b\nAPP_UPDATE_YUNXIAO_TOKEN=y\n";
        let error = load(own, None, &[("APP_UPDATE_SOURCE", "gitlab")]).unwrap_err();
        assert_eq!(error.code(), Code::ConfigInvalid);
        assert!(error.to_string().contains("APP_UPDATE_SOURCE"), "{error}");
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
