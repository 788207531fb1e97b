//! A prefix of a bucket, for callers that block: every call runs on a thread of the bucket's own and has a bound.

use super::http::{Connector, ServerClock, trust, whole_text};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::path::Path;
use object_store::{BackoffConfig, Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig};
use std::future::Future;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

/// Where the bucket is: `--s3` and what belongs to it. Keys and tokens come from the usual `AWS_…` variables, and so does a
/// file with authorities (AWS_CA_BUNDLE).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketConfig {
    pub bucket: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
    /// Before `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// Before `AWS_REGION` and `AWS_DEFAULT_REGION`; `us-east-1` if none is given.
    pub region: Option<String>,
    /// `endpoint/bucket` instead of `bucket.endpoint`; by default wherever an endpoint is given.
    pub path_style: Option<bool>,
}

impl BucketConfig {
    /// `s3://bucket` or `s3://bucket/prefix`.
    pub fn parse(url: &str) -> Option<BucketConfig> {
        let (bucket, prefix) = url.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
        let prefix = prefix.trim_matches('/');
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let valid = (1..=255).contains(&bucket.len()) && bucket.bytes().all(is_name) && prefix.len() <= 512;
        (valid && Path::parse(prefix).is_ok()).then(|| BucketConfig {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            region: None,
            path_style: None,
        })
    }

    /// As the user wrote it.
    pub fn url(&self) -> String {
        if self.prefix.is_empty() { format!("s3://{}", self.bucket) } else { format!("s3://{}/{}", self.bucket, self.prefix) }
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum BucketError {
    #[error("{0} does not exist in the bucket")]
    Missing(String),
    #[error("{0} is in the bucket already")]
    Exists(String),
    /// Keys, permissions, a bucket that is not there: trying again does not help.
    #[error("the bucket refuses: {0}")]
    Refused(String),
    /// No answer, or not a good one, after all retries.
    #[error("the bucket does not answer: {0}")]
    Unavailable(String),
    #[error("{0} in the bucket is damaged: {1}")]
    Damaged(String, String),
    #[error("{0}")]
    Local(String),
}

impl BucketError {
    fn of(key: &str, error: &Error) -> BucketError {
        match error {
            Error::NotFound { source, .. } if source.to_string().contains("NoSuchBucket") => BucketError::Refused(source.to_string()),
            Error::NotFound { .. } => BucketError::Missing(key.to_owned()),
            Error::AlreadyExists { .. } | Error::Precondition { .. } => BucketError::Exists(key.to_owned()),
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => BucketError::Refused(brief(error)),
            Error::InvalidPath { .. } | Error::NotImplemented { .. } | Error::NotSupported { .. } => BucketError::Local(error.to_string()),
            _ => BucketError::Unavailable(brief(error)),
        }
    }
}

/// A status page of a proxy may be long.
fn brief(error: &Error) -> String {
    const LENGTH_MAX: usize = 300;
    whole_text(error).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LENGTH_MAX).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Below the prefix.
    pub key: String,
    pub bytes: u64,
    /// Without quotes; many servers give the MD5 of the contents.
    pub etag: Option<String>,
    /// Nanoseconds since the epoch.
    pub modified_at: i64,
}

/// One part of an upload in parts; what is not larger goes in one request.
const PART_BYTES: usize = 16 << 20;

/// The most that one request of a small object reads: `meta.json`, markers, tombstones.
const SMALL_MAX_BYTES: u64 = 8 << 20;

/// Small objects that are read at the same time.
const PARALLEL: usize = 16;

/// Listed objects that wait to be looked at.
const LISTED_AHEAD_MAX: usize = 1_000;

/// What a read may take with all its retries, so that a query knows soon that the bucket is down.
const READ_MAX: Duration = Duration::from_secs(12);

/// The same for what runs in the background, apart from sending bytes.
const WORK_MAX: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Bucket {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
    part_bytes: usize,
    clock: Arc<ServerClock>,
    worker: Arc<Worker>,
}

impl Bucket {
    pub fn connect(config: &BucketConfig) -> Result<Bucket, BucketError> {
        let failed = |e: Error| BucketError::Refused(e.to_string());
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&config.bucket);
        if let Some(region) = &config.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint].iter().find_map(|key| builder.get_config_value(key));
        // Whoever writes `http://` means it.
        let plain = endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        // A dot in a bucket's name is more than a wildcard certificate covers.
        let path_style = config.path_style.unwrap_or(endpoint.is_some() || config.bucket.contains('.'));
        let retry = RetryConfig {
            backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(3), base: 2. },
            max_retries: 8,
            retry_timeout: READ_MAX,
        };
        let bundle = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let tls = if plain { None } else { Some(trust(bundle.as_deref())?) };
        let clock = Arc::new(ServerClock::default());
        let objects = builder
            .with_allow_http(plain)
            .with_virtual_hosted_style_request(!path_style)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(retry)
            .with_http_connector(Connector { tls, clock: clock.clone() })
            .build()
            .map_err(failed)?;
        Ok(Bucket { clock, ..Bucket::over(Arc::new(objects), config)? })
    }

    /// On any store of objects: one in memory, for tests.
    pub fn over(objects: Arc<dyn ObjectStore>, config: &BucketConfig) -> Result<Bucket, BucketError> {
        let prefix = Path::parse(&config.prefix).map_err(|e| BucketError::Local(e.to_string()))?;
        let worker = Worker::start().map_err(|e| BucketError::Local(e.to_string()))?;
        Ok(Bucket { objects, prefix, url: config.url(), part_bytes: PART_BYTES, clock: Arc::default(), worker: Arc::new(worker) })
    }

    /// What time it is there, as [`ServerClock::now`] has it.
    pub fn time(&self) -> Option<i64> {
        self.clock.now()
    }

    #[cfg(test)]
    pub fn in_parts_of(self, part_bytes: usize) -> Bucket {
        Bucket { part_bytes, ..self }
    }

    /// What is larger goes up in parts of so many bytes.
    pub fn part_bytes(&self) -> usize {
        self.part_bytes
    }

    /// As the user wrote it, for messages.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn path(&self, key: &str) -> Result<Path, BucketError> {
        // Parsed, not built: keys equal local paths to the character.
        let whole = if self.prefix.as_ref().is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) };
        Path::parse(whole).map_err(|e| BucketError::Local(e.to_string()))
    }

    fn key(&self, path: &Path) -> Option<String> {
        let path = path.as_ref();
        if self.prefix.as_ref().is_empty() {
            return Some(path.to_owned());
        }
        path.strip_prefix(self.prefix.as_ref())?.strip_prefix('/').map(str::to_owned)
    }

    /// Runs one request, with its bound, on the bucket's thread.
    fn run<T, F>(&self, key: &str, limit: Duration, request: impl FnOnce(Arc<dyn ObjectStore>, Path) -> F) -> Result<T, BucketError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let request = request(self.objects.clone(), self.path(key)?);
        let answer = self.worker.wait(async move { tokio::time::timeout(limit, request).await });
        let late = || BucketError::Unavailable(format!("no answer within {} s", limit.as_secs()));
        answer.ok_or_else(late)?.map_err(|_| late())?.map_err(|e| BucketError::of(key, &e))
    }

    pub fn head(&self, key: &str) -> Result<Option<ObjectInfo>, BucketError> {
        let found = self.run(key, READ_MAX, |objects, path| async move { objects.head(&path).await });
        match found {
            Ok(meta) => Ok(self.info(&meta)),
            Err(BucketError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn info(&self, meta: &object_store::ObjectMeta) -> Option<ObjectInfo> {
        Some(ObjectInfo {
            key: self.key(&meta.location)?,
            bytes: meta.size,
            etag: meta.e_tag.as_ref().map(|tag| tag.trim_matches('"').to_owned()),
            modified_at: meta.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX),
        })
    }

    /// A whole small object; `None` if there is none. One above 8 MiB is an error.
    pub fn get_small(&self, key: &str) -> Result<Option<Bytes>, BucketError> {
        let name = key.to_owned();
        let found = self.run(key, READ_MAX, |objects, path| async move { small(&objects, &path, name).await });
        match found {
            Ok(bytes) => bytes.map(Some),
            Err(BucketError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Many small objects, some at a time, each given to `visit` as soon as it is there; those that are gone are left out.
    pub fn get_many(&self, keys: Vec<String>, mut visit: impl FnMut(String, Bytes)) -> Result<(), BucketError> {
        for chunk in keys.chunks(PARALLEL * 4) {
            let paths = chunk.iter().map(|key| Ok((key.clone(), self.path(key)?))).collect::<Result<Vec<_>, BucketError>>()?;
            let read = self.run("", WORK_MAX, |objects, _| async move {
                let reads = paths.into_iter().map(|(key, path)| {
                    let objects = objects.clone();
                    async move { Ok::<_, Error>((key.clone(), small(&objects, &path, key).await)) }
                });
                stream::iter(reads).buffered(PARALLEL).try_collect::<Vec<_>>().await
            })?;
            for (key, found) in read {
                match found {
                    Ok(bytes) => visit(key, bytes?),
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(BucketError::of(&key, &error)),
                }
            }
        }
        Ok(())
    }

    /// Bytes `range` of an object, exactly as many.
    pub fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, BucketError> {
        let wanted = range.end.saturating_sub(range.start);
        let bytes = self.run(key, READ_MAX, |objects, path| async move { objects.get_range(&path, range).await })?;
        if bytes.len() as u64 == wanted {
            return Ok(bytes);
        }
        Err(BucketError::Damaged(key.to_owned(), format!("{} bytes came instead of {wanted}", bytes.len())))
    }

    /// Writes or replaces a small object.
    pub fn put(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
        self.run(key, WORK_MAX, |objects, path| async move { objects.put(&path, PutPayload::from_bytes(bytes)).await }).map(drop)
    }

    /// Writes a small object unless there is one; one with the same contents, perhaps from a request whose answer was
    /// lost, is as good.
    pub fn put_new(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
        let (payload, options) = (PutPayload::from_bytes(bytes.clone()), PutOptions::from(PutMode::Create));
        let done = self.run(key, WORK_MAX, |objects, path| async move { objects.put_opts(&path, payload, options).await });
        match done {
            Ok(_) => Ok(()),
            Err(BucketError::Exists(_)) => match self.get_small(key)? {
                Some(found) if found == bytes => Ok(()),
                _ => Err(BucketError::Exists(key.to_owned())),
            },
            Err(error) => Err(error),
        }
    }

    /// Writes an object of any size: `next` gives its parts in order, each of [`Bucket::part_bytes`] but the last.
    pub fn put_parts(&self, key: &str, mut next: impl FnMut() -> Result<Option<Bytes>, BucketError>) -> Result<(), BucketError> {
        let first = next()?.unwrap_or_default();
        let Some(mut part) = next()? else { return self.put(key, first) };
        let mut upload = self.run(key, WORK_MAX, |objects, path| async move { objects.put_multipart(&path).await })?;
        upload = self.put_part(key, upload, first)?;
        loop {
            upload = self.put_part(key, upload, part)?;
            match next() {
                Ok(Some(more)) => part = more,
                Ok(None) => break,
                Err(error) => {
                    let abort = self.run(key, WORK_MAX, |_, _| async move { upload.abort().await });
                    return abort.and(Err(error));
                }
            }
        }
        self.run(key, WORK_MAX, |_, _| async move { upload.complete().await }).map(drop)
    }

    /// Parts go one after the other: one is in memory at a time. A part that fails ends the upload.
    fn put_part(
        &self,
        key: &str,
        mut upload: Box<dyn object_store::MultipartUpload>,
        part: Bytes,
    ) -> Result<Box<dyn object_store::MultipartUpload>, BucketError> {
        self.run(key, WORK_MAX * 4, |_, _| async move {
            match upload.put_part(PutPayload::from_bytes(part)).await {
                Ok(()) => Ok(upload),
                Err(error) => {
                    // What cannot be aborted is left to the bucket's rule for incomplete uploads.
                    let _ = upload.abort().await;
                    Err(error)
                }
            }
        })
    }

    /// Removes objects; those that are gone are fine.
    pub fn delete(&self, keys: &[String]) -> Result<(), BucketError> {
        for key in keys {
            match self.run(key, WORK_MAX, |objects, path| async move { objects.delete(&path).await }) {
                Ok(()) | Err(BucketError::Missing(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Everything below `directory`, given to `visit` one by one until it has enough. To be called from a thread that may block.
    pub fn list(&self, directory: &str, mut visit: impl FnMut(ObjectInfo) -> ControlFlow<()>) -> Result<(), BucketError> {
        let (found, mut items) = tokio::sync::mpsc::channel(LISTED_AHEAD_MAX);
        let path = self.path(directory)?;
        let objects = self.objects.clone();
        self.worker.spawn(async move {
            let mut listed = objects.list(Some(&path));
            loop {
                let item = match tokio::time::timeout(WORK_MAX, listed.next()).await {
                    Ok(Some(item)) => item.map_err(|e| BucketError::of(path.as_ref(), &e)),
                    Ok(None) => return,
                    Err(_) => Err(BucketError::Unavailable("no answer to a listing".into())),
                };
                let ended = item.is_err();
                if found.send(item).await.is_err() || ended {
                    return;
                }
            }
        });
        while let Some(item) = items.blocking_recv() {
            if let Some(info) = self.info(&item?)
                && visit(info).is_break()
            {
                return Ok(());
            }
        }
        Ok(())
    }
}

async fn small(objects: &Arc<dyn ObjectStore>, path: &Path, key: String) -> Result<Result<Bytes, BucketError>, Error> {
    let found = objects.get_opts(path, GetOptions::default()).await?;
    if found.meta.size > SMALL_MAX_BYTES {
        return Ok(Err(BucketError::Damaged(key, format!("{} bytes are too many for its kind", found.meta.size))));
    }
    found.bytes().await.map(Ok)
}

/// A thread with a runtime for requests, so that threads that block can wait for them, whatever runtime they belong to.
struct Worker {
    handle: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
}

impl Worker {
    fn start() -> std::io::Result<Worker> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new().name("bucket".into()).spawn(move || {
            // Either way the worker was dropped.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Worker { handle, stop: Some(stop) })
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }

    /// `None` if the worker has ended.
    fn wait<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (done, outcome) = mpsc::channel();
        self.spawn(async move {
            let _ = done.send(task.await);
        });
        outcome.recv().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}
