//! The release server, whole: over HTTP, with a database and a store of its own for each test.
#![expect(
    clippy::disallowed_methods,
    reason = "tests set up and spoil what the server meets"
)]

mod native;
mod registry;
mod site;
mod zghmvp;
