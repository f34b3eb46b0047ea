//! The addresses of both Django servers.

use crate::site::Site;

#[test]
fn what_is_not_there_is_told() {
    let site = Site::start();
    site.get("/healthz").assert(200);
    let answer = site.get("/nowhere").assert(404);
    assert_eq!(answer.json()["error"]["code"], "NOT_FOUND");
}
