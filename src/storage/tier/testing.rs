//! A bucket in memory that fails as real ones do, and counts its requests.

use super::bucket::{Bucket, BucketConfig};
use super::remove::Sweep;
use super::upload::UploadError;
use super::{OwnerError, Tier};
use crate::runtime::Shutdown;
use crate::storage::catalog::Catalog;
use crate::storage::{Spec, Store};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use md5::{Digest, Md5};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// It does not arrive, or not whole.
    Lost,
    /// It is done, and nobody hears of it.
    AnswerLost,
    /// Of what is read only half comes.
    Short,
}

/// Told what the bucket holds after each change.
pub type Watcher = Box<dyn Fn(Arc<Objects>) + Send + Sync>;

/// What a bucket holds.
#[derive(Debug, Default)]
pub struct Objects {
    objects: InMemory,
    /// As S3 gives them.
    etags: Mutex<HashMap<Path, String>>,
}

impl Objects {
    fn copy(&self) -> Objects {
        Objects { objects: self.objects.fork(), etags: Mutex::new(self.etags.lock().clone()) }
    }
}

#[derive(Default)]
struct State {
    objects: Arc<Objects>,
    /// Whether objects have the ETags of S3, or those of a server with rules of its own.
    usual_etags: bool,
    down: AtomicBool,
    garble_puts: AtomicBool,
    garble_gets: AtomicBool,
    fail_puts_of: Mutex<String>,
    /// The numbers of requests for parts of objects.
    reads: Mutex<Vec<usize>>,
    requests: AtomicUsize,
    strike: Mutex<Option<(usize, Strike)>>,
    watcher: Mutex<Option<Watcher>>,
}

#[derive(Clone, Default)]
pub struct Faulty(Arc<State>);

pub fn bucket(faults: &Arc<Faulty>, config: &BucketConfig) -> Bucket {
    Bucket::over(faults.clone(), config).unwrap()
}

fn unavailable(why: &'static str) -> Error {
    Error::Generic { store: "S3", source: why.into() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Faulty {
    /// A bucket with the ETags of S3 that holds this already.
    pub fn holding(objects: &Objects) -> Faulty {
        Faulty(Arc::new(State { objects: Arc::new(objects.copy()), usual_etags: true, ..State::default() }))
    }

    pub fn down(&self, down: bool) {
        self.0.down.store(down, Ordering::SeqCst);
    }

    /// Objects below `blocks/` arrive with a bit changed.
    pub fn garble_puts(&self, garble: bool) {
        self.0.garble_puts.store(garble, Ordering::SeqCst);
    }

    pub fn garble_gets(&self, garble: bool) {
        self.0.garble_gets.store(garble, Ordering::SeqCst);
    }

    /// Objects whose key ends so cannot be written.
    pub fn fail_puts_of(&self, end: &str) {
        *self.0.fail_puts_of.lock() = end.to_owned();
    }

    /// The numbers of requests for parts of objects.
    pub fn reads(&self) -> Vec<usize> {
        self.0.reads.lock().clone()
    }

    /// All requests so far.
    pub fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// One request, by its number from the first one on.
    pub fn strike(&self, strike: Option<(usize, Strike)>) {
        *self.0.strike.lock() = strike;
    }

    pub fn watch(&self, watcher: Watcher) {
        *self.0.watcher.lock() = Some(watcher);
    }

    /// The keys of all objects, with the prefix.
    pub async fn keys(&self) -> Vec<String> {
        let listed = self.0.objects.objects.list(None).map_ok(|meta| meta.location.to_string());
        listed.try_collect().await.unwrap()
    }
}

impl State {
    /// A request begins; `is_read` if it is for a part of an object.
    fn begin(&self, is_read: bool) -> Result<Option<Strike>> {
        if self.down.load(Ordering::SeqCst) {
            return Err(unavailable("connection refused"));
        }
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        if is_read {
            self.reads.lock().push(number);
        }
        let strike = self.strike.lock().filter(|(at, _)| *at == number).map(|(_, strike)| strike);
        if strike == Some(Strike::Lost) { Err(unavailable("connection reset")) } else { Ok(strike) }
    }

    /// A request was done.
    fn end(&self, strike: Option<Strike>, has_changed: bool) -> Result<()> {
        if has_changed && let Some(watcher) = &*self.watcher.lock() {
            watcher(Arc::new(self.objects.copy()));
        }
        if strike == Some(Strike::AnswerLost) { Err(unavailable("connection closed before the answer")) } else { Ok(()) }
    }

    async fn put(&self, location: &Path, mut bytes: Vec<u8>, etag: Option<String>, options: PutOptions) -> Result<PutResult> {
        let end = self.fail_puts_of.lock().clone();
        if !end.is_empty() && location.as_ref().ends_with(&end) {
            return Err(unavailable("503 Slow Down"));
        }
        if self.garble_puts.load(Ordering::SeqCst) && location.as_ref().ends_with(".parquet") {
            bytes[10] ^= 1;
        }
        let etag = etag.unwrap_or_else(|| hex(&Md5::digest(&bytes)));
        let done = self.objects.objects.put_opts(location, bytes.into(), options).await?;
        self.objects.etags.lock().insert(location.clone(), etag);
        Ok(done)
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

fn joined(payload: &PutPayload) -> Vec<u8> {
    payload.iter().flat_map(|part| part.to_vec()).collect()
}

/// An upload in parts: there is nothing until it is completed.
#[derive(Debug)]
struct Upload {
    faults: Faulty,
    location: Path,
    parts: Arc<Mutex<Vec<Bytes>>>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (faults, parts) = (self.faults.clone(), self.parts.clone());
        Box::pin(async move {
            let strike = faults.0.begin(false)?;
            parts.lock().push(joined(&payload).into());
            faults.0.end(strike, false)
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let strike = self.faults.0.begin(false)?;
        let parts = std::mem::take(&mut *self.parts.lock());
        let digests: Vec<u8> = parts.iter().flat_map(|part| Md5::digest(part).to_vec()).collect();
        let etag = format!("{}-{}", hex(&Md5::digest(&digests)), parts.len());
        let done = self.faults.0.put(&self.location, parts.concat(), Some(etag), PutOptions::default()).await?;
        self.faults.0.end(strike, true)?;
        Ok(done)
    }

    async fn abort(&mut self) -> Result<()> {
        let strike = self.faults.0.begin(false)?;
        self.parts.lock().clear();
        self.faults.0.end(strike, false)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let strike = self.0.begin(false)?;
        let done = self.0.put(location, joined(&payload), None, options).await?;
        self.0.end(strike, true)?;
        Ok(done)
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let strike = self.0.begin(false)?;
        self.0.end(strike, false)?;
        Ok(Box::new(Upload { faults: self.clone(), location: location.clone(), parts: Arc::default() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_part = options.range.is_some();
        let strike = self.0.begin(is_part)?;
        let mut found = self.0.objects.objects.get_opts(location, options).await?;
        if self.0.usual_etags {
            found.meta.e_tag = self.0.objects.etags.lock().get(location).cloned();
        }
        let is_garbled = is_part && self.0.garble_gets.load(Ordering::SeqCst);
        if is_garbled || strike == Some(Strike::Short) {
            let (meta, range) = (found.meta.clone(), found.range.clone());
            let (attributes, extensions) = (found.attributes.clone(), found.extensions.clone());
            let mut bytes = found.bytes().await?.to_vec();
            match strike {
                Some(Strike::Short) => bytes.truncate(bytes.len() / 2),
                _ => bytes[0] ^= 1,
            }
            let payload = GetResultPayload::Stream(Box::pin(stream::once(async { Ok(bytes.into()) })));
            found = GetResult { payload, meta, range, attributes, extensions };
        }
        self.0.end(strike, false)?;
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let state = self.0.clone();
        let delete = move |location: Path| {
            let state = state.clone();
            async move {
                let strike = state.begin(false)?;
                state.objects.objects.delete(&location).await?;
                state.objects.etags.lock().remove(&location);
                state.end(strike, true)?;
                Ok(location)
            }
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.0.begin(false).and_then(|strike| self.0.end(strike, false)) {
            Ok(()) => self.0.objects.objects.list(prefix),
            Err(error) => Box::pin(stream::once(async { Err(error) })),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.objects.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.objects.objects.copy_opts(from, to, options).await
    }
}

impl Tier {
    pub fn set_owned_for_test(&self, owned: bool) {
        self.remote.as_ref().unwrap().set_owned(owned);
    }

    pub fn beat_for_test(&self, catalog: &Catalog) -> std::result::Result<(), OwnerError> {
        self.beat(catalog, self.remote.as_ref().unwrap(), "01ARZ3NDEKTSV4RRFFQ69G5FAV", 1, &Shutdown::default())
    }
}

impl<S: Spec> Store<S> {
    /// One turn of the upload's loop, for which all that is obsolete has been so for long.
    pub fn upload_turn_for_test(&self) -> std::result::Result<(), UploadError> {
        let (remote, shutdown) = (self.tier().remote.clone().unwrap(), Shutdown::default());
        self.upload_pass(&remote, &shutdown)?;
        self.sweep(&remote, &mut Sweep::after(Duration::ZERO), &shutdown)
    }
}
