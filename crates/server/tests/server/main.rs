//! The release server, whole: over HTTP, with a database and a store of its own for each test.
#![expect(
    clippy::disallowed_methods,
    reason = "tests set up and spoil what the server meets"
)]

mod admin;
mod browser;
mod native;
mod registry;
mod s3;
mod site;
mod webdriver;
mod zghmvp;
