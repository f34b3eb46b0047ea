//! The release server, whole: over HTTP, with a database and a store of its own for each test.

mod admin;
mod browser;
mod import;
mod native;
mod registry;
mod s3;
mod site;
mod zghmvp;
