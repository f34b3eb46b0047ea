//! A bucket of an S3-compatible object store, which several servers share.

use std::ops::Range;
use std::path::Path;

use axum::body::Body;
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{
    GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _, PutPayload, WriteMultipart,
};
use tokio::io::AsyncReadExt as _;

use super::Stored;
use crate::{Error, Result};

/// Up to here an object is put in one request.
const WHOLE: u64 = 8 << 20;

/// How many parts of an upload are under way at once, each of 5 MiB.
const PARTS: usize = 4;

/// A bucket, and the prefix of all names in it.
pub struct Bucket {
    store: AmazonS3,
    prefix: String,
}

impl Bucket {
    /// Opens `s3://BUCKET/PREFIX?endpoint=URL&region=REGION`. Credentials are those of the environment.
    pub(super) fn open(address: &str) -> Result<Self> {
        let wrong = |problem: &str| Error::request(format!("object_store: {address:?} {problem}"));
        let rest = address
            .strip_prefix("s3://")
            .ok_or_else(|| wrong("does not begin with s3://"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        // Its client asks for the one of the process; one that is there already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            builder = match pair.split_once('=') {
                Some(("endpoint", url)) => {
                    let builder = builder
                        .with_endpoint(url)
                        .with_allow_http(url.starts_with("http://"));
                    // Some stores take the bucket as a part of the host alone.
                    if url.contains(&format!("://{bucket}.")) {
                        builder.with_virtual_hosted_style_request(true)
                    } else {
                        builder
                    }
                }
                Some(("region", region)) => builder.with_region(region),
                _ => return Err(wrong("has a parameter that is none of endpoint and region")),
            };
        }
        let store = builder.build().map_err(|error| wrong(&error.to_string()))?;
        Ok(Self {
            store,
            prefix: prefix.trim_matches('/').to_owned(),
        })
    }

    fn key(&self, place: &str) -> Key {
        Key::from(format!("{}/{place}", self.prefix))
    }

    pub(super) async fn put(&self, place: &str, from: &Path) -> Result<()> {
        let key = self.key(place);
        let failed = |error| Error::io("read", from, &error);
        let mut file = tokio::fs::File::open(from).await.map_err(failed)?;
        let size = file.metadata().await.map_err(failed)?.len();
        if size <= WHOLE {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).await.map_err(failed)?;
            self.store
                .put(&key, PutPayload::from(bytes))
                .await
                .map_err(|error| store(&error))?;
            return Ok(());
        }
        let upload = self
            .store
            .put_multipart(&key)
            .await
            .map_err(|error| store(&error))?;
        let mut upload = WriteMultipart::new(upload);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer).await.map_err(failed)?;
            if read == 0 {
                break;
            }
            upload
                .wait_for_capacity(PARTS)
                .await
                .map_err(|error| store(&error))?;
            upload.write(&buffer[..read]);
        }
        upload.finish().await.map_err(|error| store(&error))?;
        Ok(())
    }

    pub(super) async fn look(&self, place: &str) -> Result<Option<Stored>> {
        match self.store.head(&self.key(place)).await {
            Ok(found) => Ok(Some(Stored {
                size: found.size,
                modified: found.last_modified,
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(store(&error)),
        }
    }

    pub(super) async fn read(&self, place: &str, range: Range<u64>) -> Result<Body> {
        if range.is_empty() {
            return Ok(Body::empty());
        }
        let how = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let found = self
            .store
            .get_opts(&self.key(place), how)
            .await
            .map_err(|error| store(&error))?;
        Ok(Body::from_stream(
            found.into_stream().map_err(std::io::Error::other),
        ))
    }

    pub(super) async fn remove(&self, place: &str) -> Result<()> {
        match self.store.delete(&self.key(place)).await {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(store(&error)),
        }
    }
}

fn store(error: &object_store::Error) -> Error {
    Error::Store(error.to_string())
}
