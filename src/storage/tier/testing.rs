//! A bucket in memory that fails as real ones do.

use super::bucket::{Bucket, BucketConfig};
use super::{OwnerError, Tier};
use crate::runtime::Shutdown;
use crate::storage::catalog::Catalog;
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct Faulty {
    objects: InMemory,
    down: AtomicBool,
    garble_puts: AtomicBool,
    garble_gets: AtomicBool,
    fail_puts_of: Mutex<String>,
    reads: AtomicU64,
}

pub fn bucket(faults: &Arc<Faulty>, config: &BucketConfig) -> Bucket {
    Bucket::over(faults.clone(), config).unwrap()
}

impl Faulty {
    pub fn down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Objects below `blocks/` arrive with a bit changed.
    pub fn garble_puts(&self, garble: bool) {
        self.garble_puts.store(garble, Ordering::SeqCst);
    }

    pub fn garble_gets(&self, garble: bool) {
        self.garble_gets.store(garble, Ordering::SeqCst);
    }

    /// Objects whose key ends so cannot be written.
    pub fn fail_puts_of(&self, end: &str) {
        *self.fail_puts_of.lock() = end.to_owned();
    }

    /// Requests for parts of objects.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<()> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::Generic { store: "S3", source: "connection refused".into() });
        }
        Ok(())
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check()?;
        let end = self.fail_puts_of.lock().clone();
        if !end.is_empty() && location.as_ref().ends_with(&end) {
            return Err(Error::Generic { store: "S3", source: "503 Slow Down".into() });
        }
        let mut bytes = payload.iter().flat_map(|part| part.to_vec()).collect::<Vec<u8>>();
        if self.garble_puts.load(Ordering::SeqCst) && location.as_ref().ends_with(".parquet") {
            bytes[10] ^= 1;
        }
        self.objects.put_opts(location, bytes.into(), options).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.check()?;
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check()?;
        let is_part = options.range.is_some();
        self.reads.fetch_add(u64::from(is_part), Ordering::SeqCst);
        let mut found = self.objects.get_opts(location, options).await?;
        if is_part && self.garble_gets.load(Ordering::SeqCst) {
            let (meta, range) = (found.meta.clone(), found.range.clone());
            let (attributes, extensions) = (found.attributes.clone(), found.extensions.clone());
            let mut bytes = found.bytes().await?.to_vec();
            bytes[0] ^= 1;
            let payload = GetResultPayload::Stream(Box::pin(stream::once(async { Ok(bytes.into()) })));
            found = GetResult { payload, meta, range, attributes, extensions };
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.check() {
            Ok(()) => self.objects.delete_stream(locations),
            Err(error) => Box::pin(stream::once(async { Err(error) })),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check() {
            Ok(()) => self.objects.list(prefix),
            Err(error) => Box::pin(stream::once(async { Err(error) })),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
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
