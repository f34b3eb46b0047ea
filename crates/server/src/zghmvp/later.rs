//! The later server's addresses, below `/api/v1/nuitkal_pack/`: an app's clients are told which files their
//! new version has, and fetch those that differ. Ids are UUIDs.
//!
//! Files may be uploaded first, and a version be made of them: it becomes a package like any other, so that
//! all clients can fetch it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use axum::Router;
use axum::extract::{self, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use castoff::version::Version;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::form::{self, Form};
use super::{NO_APP, New, Refusal};
use crate::native::launchers;
use crate::registry::{App, File, Release, Role, STABLE, text_of};
use crate::visit::Visit;
use crate::{Error, Result, Server, intake};

/// How many files of the store are looked at at once: as many as a bucket answers side by side.
const AT_ONCE: usize = 16;

/// The addresses of this part.
pub fn router() -> Router<Arc<Server>> {
    let mut router = Router::new();
    for (path, methods) in [
        ("", get(apps)),
        ("check-files/", post(check_files)),
        ("upload-file/", post(upload_file)),
        ("{id}/", get(app)),
        ("{id}/check-update/", get(check_update)),
        ("{id}/active/", get(active)),
        ("{id}/list/", get(list)),
        ("{id}/upload-zip/", post(upload_zip)),
        ("{id}/upload-file/", post(upload_file_for)),
        ("{id}/create-version/", post(create_version)),
    ] {
        router = super::add(
            router,
            &format!("/api/v1/nuitkal_pack/apps/{path}"),
            methods,
        );
    }
    router
}

/// As this server says why something is not done.
fn words(refusal: Refusal) -> Result<(StatusCode, Value)> {
    let said = match refusal {
        Refusal::AppUnknown => return Ok((StatusCode::NOT_FOUND, json!({"detail": NO_APP}))),
        Refusal::NothingActive(_) => "该应用暂无激活版本".to_owned(),
        Refusal::VersionMissing => "缺少版本号".to_owned(),
        Refusal::VersionUnknown(version) => format!("该版本[{version}]不存在"),
        Refusal::VersionTaken(version) => format!("版本[{version}]已存在"),
        Refusal::FileMissing => "缺少文件".to_owned(),
        Refusal::NotCalledZip => "请上传 ZIP 格式的文件".to_owned(),
        Refusal::NotZip => "无效的 ZIP 文件".to_owned(),
        Refusal::Package(why) => format!("无效的 ZIP 文件: {why}"),
        Refusal::VersionWrong(why)
        | Refusal::EntryPointWrong(why)
        | Refusal::Other(Error::Request(why)) => why,
        Refusal::NotActivated(version, why) => {
            format!("{version} is there, but was not made current: {why}")
        }
        Refusal::Own(status, value) => return Ok((status, value)),
        Refusal::Other(Error::TooLarge(why)) => {
            return Ok((StatusCode::PAYLOAD_TOO_LARGE, json!({"error": why})));
        }
        Refusal::Other(error) => return Err(error),
    };
    Ok((StatusCode::BAD_REQUEST, json!({"error": said})))
}

/// What only this server refuses.
fn refused(why: impl Into<String>) -> Refusal {
    Refusal::Own(StatusCode::BAD_REQUEST, json!({"error": why.into()}))
}

/// An app, as it is shown.
#[derive(Serialize)]
struct AppShown {
    id: String,
    name: String,
    description: String,
    enable_time: Option<String>,
    disable_time: Option<String>,
    active_version: Option<VersionShown>,
    created_at: String,
    updated_at: String,
}

impl AppShown {
    async fn of(server: &Server, visit: &Visit, app: App) -> Result<Self> {
        let active = match server.registry.current(&app.id, STABLE).await? {
            Some((release, _)) => Some(VersionShown::of(server, visit, release).await?),
            None => None,
        };
        let newest = server.registry.releases(&app.id).await?.into_iter().next();
        let updated = newest.map_or(app.created, |newest| newest.created.max(app.created));
        Ok(Self {
            id: uuid(&app.id),
            name: app.name,
            description: app.description,
            enable_time: app.enable_time.map(text_of),
            disable_time: app.disable_time.map(text_of),
            active_version: active,
            created_at: text_of(app.created),
            updated_at: text_of(updated),
        })
    }
}

/// A file of a version, as it is shown.
#[derive(Serialize)]
struct FileShown {
    hash: String,
    path: String,
    url: String,
    size: i64,
}

impl FileShown {
    fn of(file: File, visit: &Visit) -> Self {
        Self {
            url: media(visit, &file.sha256),
            hash: file.sha256,
            path: file.path,
            size: file.size,
        }
    }
}

/// A version with its files.
#[derive(Serialize)]
struct VersionShown {
    id: i64,
    version: String,
    entry_point: String,
    upload_time: String,
    changelog: String,
    is_active: bool,
    file_count: usize,
    total_size: i64,
    created_at: String,
    files: Vec<FileShown>,
}

impl VersionShown {
    async fn of(server: &Server, visit: &Visit, release: Release) -> Result<Self> {
        let files = server.registry.files(release.id).await?;
        let created = text_of(release.created);
        Ok(Self {
            id: release.id,
            version: release.version.to_string(),
            upload_time: created.clone(),
            is_active: release.active.iter().any(|channel| channel == STABLE),
            entry_point: release.entry_point,
            changelog: release.notes,
            file_count: files.len(),
            total_size: files.iter().map(|file| file.size).sum(),
            created_at: created,
            files: files
                .into_iter()
                .map(|file| FileShown::of(file, visit))
                .collect(),
        })
    }
}

/// What has to be done to have the active version. Paths alone decide what is kept: its content may differ.
#[derive(Serialize)]
struct Update {
    current_version: Option<String>,
    active_version: String,
    entry_point: String,
    changelog: String,
    #[serde(rename = "need_update")]
    is_needed: bool,
    add: Vec<FileShown>,
    keep: Vec<FileShown>,
    delete: Vec<FileShown>,
    /// What launchers read beyond that.
    #[serde(flatten)]
    beyond: Map<String, Value>,
}

/// What was uploaded.
#[derive(Serialize)]
struct Uploaded {
    message: &'static str,
    version: String,
    is_active: bool,
}

/// Which files are there.
#[derive(Serialize)]
struct Checked {
    #[serde(rename = "missing_files")]
    missing: Vec<String>,
    #[serde(rename = "existing_files")]
    existing: Vec<String>,
    /// None of those that were asked for.
    #[serde(rename = "delete_files")]
    deleted: [String; 0],
}

/// A file that was uploaded.
#[derive(Serialize)]
struct UploadedFile {
    message: &'static str,
    id: String,
    url: String,
}

/// `GET apps/`.
async fn apps(
    State(server): State<Arc<Server>>,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response> {
    let make = async {
        let mut shown = Vec::new();
        for app in super::apps(&server, &visit).await? {
            shown.push(AppShown::of(&server, &visit, app).await?);
        }
        Ok(shown)
    };
    super::read(&server, &visit, &headers, words, make).await
}

/// `GET apps/{id}/`.
async fn app(
    State(server): State<Arc<Server>>,
    visit: Visit,
    extract::Path(id): extract::Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let make = async {
        let app = super::app(&server, &visit, Some(&id)).await?;
        Ok(AppShown::of(&server, &visit, app).await?)
    };
    super::read(&server, &visit, &headers, words, make).await
}

/// `GET apps/{id}/check-update/`.
async fn check_update(
    State(server): State<Arc<Server>>,
    visit: Visit,
    extract::Path(id): extract::Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let make = async {
        let app = super::app(&server, &visit, Some(&id)).await?;
        let Some((release, channel)) = server.registry.current(&app.id, STABLE).await? else {
            return Err(Refusal::NothingActive(app.name));
        };
        let said = super::asked(&visit, "version").filter(|version| !version.is_empty());
        let installed = match said.as_deref().map(str::parse) {
            Some(Ok(version)) => server.registry.release(&app.id, &version).await?,
            // What is no version was never published.
            Some(Err(_)) | None => None,
        };
        let old = match &installed {
            Some(installed) => server.registry.files(installed.id).await?,
            None => Vec::new(),
        };
        let new = server.registry.files(release.id).await?;
        let paths = |files: &[File]| -> HashSet<String> {
            files.iter().map(|file| file.path.clone()).collect()
        };
        let (had, has) = (paths(&old), paths(&new));
        let (keep, add) = new
            .into_iter()
            .partition::<Vec<_>, _>(|file| had.contains(&file.path));
        let gone = old.into_iter().filter(|file| !has.contains(&file.path));
        let shown = |file| FileShown::of(file, &visit);
        Ok(Update {
            current_version: said,
            active_version: release.version.to_string(),
            is_needed: installed.is_none_or(|installed| installed.id != release.id),
            add: add.into_iter().map(shown).collect(),
            keep: keep.into_iter().map(shown).collect(),
            delete: gone.map(shown).collect(),
            beyond: launchers::beyond(&server, &app, &release, &channel).await?,
            entry_point: release.entry_point,
            changelog: release.notes,
        })
    };
    super::read(&server, &visit, &headers, words, make).await
}

/// `GET apps/{id}/active/`.
async fn active(
    State(server): State<Arc<Server>>,
    visit: Visit,
    extract::Path(id): extract::Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let make = async {
        let app = super::app(&server, &visit, Some(&id)).await?;
        match server.registry.current(&app.id, STABLE).await? {
            Some((release, _)) => Ok(VersionShown::of(&server, &visit, release).await?),
            None => Err(Refusal::NothingActive(app.name)),
        }
    };
    super::read(&server, &visit, &headers, words, make).await
}

/// `GET apps/{id}/list/`.
async fn list(
    State(server): State<Arc<Server>>,
    visit: Visit,
    extract::Path(id): extract::Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let make = async {
        let app = super::app(&server, &visit, Some(&id)).await?;
        let mut shown = Vec::new();
        for release in server.registry.releases(&app.id).await? {
            shown.push(VersionShown::of(&server, &visit, release).await?);
        }
        Ok(shown)
    };
    super::read(&server, &visit, &headers, words, make).await
}

/// `POST apps/{id}/upload-zip/`.
async fn upload_zip(
    State(server): State<Arc<Server>>,
    visit: Visit,
    extract::Path(id): extract::Path<String>,
    request: Request,
) -> Result<Response> {
    let who = visit.may(Role::Publish)?;
    let make = async {
        let app = super::app(&server, &visit, Some(&id)).await?;
        let mut form = Form::read(&server, request).await?;
        let version = super::new_version(&server, &app, &form).await?;
        let zip = super::zip(&mut form).await?;
        let new = new(version, &form)?;
        let release = super::publish(&server, who, &app, &zip, &new).await?;
        Ok(Uploaded::of(&release, &new))
    };
    super::write(words, StatusCode::OK, make).await
}

/// `POST apps/check-files/`.
async fn check_files(
    State(server): State<Arc<Server>>,
    visit: Visit,
    request: Request,
) -> Result<Response> {
    visit.may(Role::Publish)?;
    let make = async {
        let asked = form::json(request.into_body()).await?;
        let hashes = asked["file_hashes"].as_array().map(|hashes| {
            let texts = hashes.iter().map(|hash| hash.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>()
        });
        let mut hashes = hashes
            .flatten()
            .ok_or_else(|| refused("file_hashes 必须是列表"))?;
        let mut seen = HashSet::new();
        hashes.retain(|hash| seen.insert(hash.clone()));
        let sizes = sizes(&server, &hashes).await?;
        let (there, missing) = hashes
            .into_iter()
            .zip(sizes)
            .partition::<Vec<_>, _>(|(_, size)| size.is_some());
        let names = |files: Vec<(String, _)>| files.into_iter().map(|(hash, _)| hash).collect();
        Ok(Checked {
            missing: names(missing),
            existing: names(there),
            deleted: [],
        })
    };
    super::write(words, StatusCode::OK, make).await
}

/// `POST apps/upload-file/`.
async fn upload_file(
    State(server): State<Arc<Server>>,
    visit: Visit,
    request: Request,
) -> Result<Response> {
    visit.may(Role::Publish)?;
    super::write(words, StatusCode::OK, take_file(&server, &visit, request)).await
}

/// `POST apps/{id}/upload-file/`: the same. Files are no app's.
async fn upload_file_for(
    State(server): State<Arc<Server>>,
    visit: Visit,
    extract::Path(id): extract::Path<String>,
    request: Request,
) -> Result<Response> {
    visit.may(Role::Publish)?;
    let make = async {
        super::app(&server, &visit, Some(&id)).await?;
        take_file(&server, &visit, request).await
    };
    super::write(words, StatusCode::OK, make).await
}

async fn take_file(
    server: &Server,
    visit: &Visit,
    request: Request,
) -> Result<UploadedFile, Refusal> {
    let form = Form::read(server, request).await?;
    let file = form.file.ok_or(Refusal::FileMissing)?;
    let (id, _) = intake::file(server, &file.path).await?;
    Ok(UploadedFile {
        message: "文件上传成功",
        url: media(visit, &id),
        id,
    })
}

/// `POST apps/{id}/create-version/`.
async fn create_version(
    State(server): State<Arc<Server>>,
    visit: Visit,
    extract::Path(id): extract::Path<String>,
    request: Request,
) -> Result<Response> {
    let who = visit.may(Role::Publish)?;
    let make = async {
        let app = super::app(&server, &visit, Some(&id)).await?;
        let form = Form::read(&server, request).await?;
        let version = super::new_version(&server, &app, &form)
            .await
            .map_err(taken)?;
        let manifest = form.text("file_manifest").unwrap_or_default();
        let manifest: BTreeMap<String, String> =
            serde_json::from_str(manifest).map_err(|_| refused("file_manifest 必须是字典"))?;
        let files = listed(&server, manifest).await?;
        let zip = intake::zip_of(&server, &files).await?;
        let new = new(version, &form)?;
        let release = super::publish(&server, who, &app, &zip, &new).await;
        Ok(Uploaded::of(&release.map_err(taken)?, &new))
    };
    super::write(words, StatusCode::OK, make).await
}

/// A version, which stays as it is unless it is told to become current.
fn new(version: Version, form: &Form) -> Result<New, Refusal> {
    New::of(version, form, "main.py", false)
}

/// A version that is there is told otherwise here than where a zip is uploaded.
fn taken(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::VersionTaken(version) => refused(format!("版本 {version} 已存在")),
        other => other,
    }
}

impl Uploaded {
    fn of(release: &Release, new: &New) -> Self {
        Self {
            message: "版本上传成功",
            version: release.version.to_string(),
            is_active: new.is_active,
        }
    }
}

/// An app's id, written as a UUID.
fn uuid(id: &str) -> String {
    if id.len() != 32 || !id.is_ascii() {
        return id.to_owned();
    }
    [0..8, 8..12, 12..16, 16..20, 20..32]
        .map(|part| &id[part])
        .join("-")
}

/// Where the file with this digest is fetched.
fn media(visit: &Visit, sha256: &str) -> String {
    format!("{}/media/{}", visit.prefix, intake::place_of(sha256))
}

/// The sizes of files in the store; `None`: it is not there.
async fn sizes(server: &Server, hashes: &[String]) -> Result<Vec<Option<u64>>> {
    let look = |hash: String| async move {
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let place = intake::place_of(&hash.to_ascii_lowercase());
        Ok(server.store.look(&place).await?.map(|stored| stored.size))
    };
    stream::iter(hashes.to_vec())
        .map(look)
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// The files of a list, with their sizes in the store. Folders, which lists made of a zip's names have
/// among their files, are left out.
async fn listed(server: &Server, manifest: BTreeMap<String, String>) -> Result<Vec<File>, Refusal> {
    let hashes: Vec<_> = manifest.values().cloned().collect();
    let sizes = sizes(server, &hashes).await?;
    let (mut files, mut missing) = (Vec::new(), BTreeSet::new());
    for ((path, hash), size) in manifest.into_iter().zip(sizes) {
        let Some(size) = size else {
            missing.insert(hash);
            continue;
        };
        files.push(File {
            // Its publisher may have listed the files on Windows.
            path: path.replace('\\', "/"),
            sha256: hash.to_ascii_lowercase(),
            size: size.cast_signed(),
        });
    }
    if !missing.is_empty() {
        let missing: Vec<_> = missing.into_iter().collect();
        let missing = missing.join("、");
        return Err(refused(format!(
            "未上传的文件列表, 请上传完毕后再创建新版本: {missing}"
        )));
    }
    let files = intake::without_folders(files);
    let whole = files.iter().map(|file| file.size.cast_unsigned());
    let whole = whole.fold(0, u64::saturating_add);
    if whole > server.config.max_upload {
        return Err(Refusal::Other(Error::TooLarge(format!(
            "the files have {whole} bytes, more than the {} that are taken here (max_upload)",
            server.config.max_upload
        ))));
    }
    form::need_room(server, whole).await?;
    Ok(files)
}
