//! `castoff pack`.

use std::path::PathBuf;

use castoff::launcher::messages::size;
use castoff::release::Commands;
use castoff::version::Version;
use castoff_publish::pack::{Draft, Progress, pack};
use castoff_publish::{Result, against};
use clap::Args;
use indicatif::ProgressBar;

use super::settings::{self, Settings};
use super::{bar, say};

#[derive(Args)]
pub(crate) struct Pack {
    /// The folder whose content becomes the package
    dir: PathBuf,
    /// The version
    #[arg(long)]
    version: Version,
    /// The package's file; else it is named after app, version and target, in the current folder
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The kind of machine that it is for, such as windows-x86_64
    #[arg(long)]
    target: Option<String>,
    /// What not to pack, a gitignore pattern; `!` takes one of before back
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Also pack what is left out by default: version control, bytecode, virtual environments
    #[arg(long)]
    no_default_excludes: bool,
    /// Pack only what has changed since an older version: its package, the address of that, or a
    /// server's answer that lists its files. Only whoever has that version can install the package
    #[arg(long, value_name = "PACKAGE|URL")]
    against: Option<String>,
    /// A file with the token of the server that --against names, where it wants one
    #[arg(long, value_name = "FILE", requires = "against")]
    token_file: Option<PathBuf>,
    /// A command that the package brings, to be run when it is staged
    #[arg(long, value_name = "COMMAND")]
    after_stage: Vec<String>,
    /// A command that the package brings, to be run before its first start
    #[arg(long, value_name = "COMMAND")]
    after_commit: Vec<String>,
}

impl Pack {
    pub(super) fn run(self) -> Result<()> {
        let output = match self.output {
            Some(output) => output,
            None => usual_name(&self.version, self.target.as_deref())?,
        };
        let token = self.token_file.as_deref().map(settings::secret);
        let token = token.transpose()?;
        let against = self.against.as_deref();
        let against = against
            .map(|named| against::read(named, token))
            .transpose()?;
        let draft = Draft {
            against,
            folder: self.dir,
            version: self.version,
            target: self.target,
            output,
            excludes: self.exclude,
            default_excludes: !self.no_default_excludes,
            commands: Commands {
                after_stage: self.after_stage,
                after_commit: self.after_commit,
            },
        };
        let bar = bar::new();
        let packed = pack(&draft, &mut |progress| show(&bar, progress));
        bar.finish_and_clear();
        say::packed(&packed?, &draft.output);
        Ok(())
    }
}

/// `APP-VERSION.zip`, or `APP-VERSION-TARGET.zip`: names that an address can hold.
fn usual_name(version: &Version, target: Option<&str>) -> Result<PathBuf> {
    let app = Settings::read()?.app.unwrap_or_else(|| "app".to_owned());
    let target = target.map(|target| format!("-{target}"));
    let name = format!(
        "{app}-{}{}.zip",
        version.file_name(),
        target.unwrap_or_default()
    );
    Ok(name.into())
}

fn show(bar: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Packing { done, total } => bar::show(bar, "Packing", done, total),
        Progress::Checking => {
            bar.set_style(bar::style("{msg} ..."));
            bar.set_message(format!(
                "Checking, as a launcher does, {}",
                size(bar.position())
            ));
        }
    }
}
