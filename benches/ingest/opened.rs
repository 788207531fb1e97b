//! A store on an empty directory, behind the door that requests come through.

use crate::Result;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Request, StatusCode};
use monocle::ingest::{Door, Limits};
use monocle::runtime::{Budget, Clock, OsDisk, World};
use monocle::storage::catalog::Catalog;
use monocle::storage::layout::Layout;
use monocle::storage::tier::Tier;
use monocle::storage::wal::{LaneConfig, SyncMode};
use monocle::storage::{Spec, Store, StoreConfig};
use monocle::telemetry::Telemetry;
use std::sync::Arc;
use tower::ServiceExt;

/// Requests that are under way at the same time, as of a few exporters.
pub const CONNECTIONS: usize = 4;

/// More than anything here needs: no cut is due while it is measured.
pub const PLENTY_BYTES: u64 = 8 << 30;

pub struct Opened<S: Spec> {
    pub store: Arc<Store<S>>,
    pub door: Arc<Door<S>>,
    pub layout: Layout,
    /// Goes with it.
    _home: tempfile::TempDir,
}

impl<S: Spec> Opened<S> {
    pub fn new(spec: S, clock: &Arc<dyn Clock>, telemetry: &Telemetry) -> Result<Opened<S>> {
        let home = tempfile::tempdir()?;
        let world = World { clock: clock.clone(), disk: Arc::new(OsDisk) };
        let layout = Layout::new(home.path());
        let catalog = Arc::new(Catalog::open(&world, &layout)?);
        world.disk.create_dir_all(&layout.temporary_root())?;
        let lane = LaneConfig { sync: SyncMode::Group, size_max_bytes: PLENTY_BYTES };
        let config = StoreConfig { lane, head_max_bytes: PLENTY_BYTES };
        let store = Arc::new(Store::open(spec, Tier::new(world, layout.clone()), catalog, config, telemetry.store.clone())?);
        store.recover()?;
        let door = Door::new(store.clone(), clock.clone(), telemetry.ingest.clone(), Limits::default(), Budget::new(PLENTY_BYTES));
        Ok(Opened { store, door: Arc::new(door), layout, _home: home })
    }
}

/// Fails unless all of it is taken.
pub async fn send(router: &Router, path: &'static str, bodies: Vec<Bytes>) -> Result<()> {
    let one = |body: Bytes| async move {
        let request = Request::post(path).header("content-type", "application/x-protobuf").body(Body::from(body))?;
        let response = router.clone().oneshot(request).await?;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await?;
        // A full success is an empty message; anything in it is a refusal.
        if status == StatusCode::OK && body.is_empty() { Ok(()) } else { Err(format!("{path}: {status} {body:?}").into()) }
    };
    stream::iter(bodies).map(one).buffer_unordered(CONNECTIONS).try_collect().await
}
