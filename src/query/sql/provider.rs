//! A room's table as DataFusion sees it: each scan runs on a thread of its own and waits while its batches are not taken.

use super::pushdown::Narrowed;
use super::table::{Output, Reader, Request, TableSpec, Tables};
use crate::query::{Context, QueryError};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures_util::StreamExt;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Scans of one statement: each has a thread.
pub(super) const SCANS_MAX: usize = 32;

/// Batches that a scan is ahead of who takes them.
const AHEAD_MAX: usize = 1;

/// One room during one query: all of its tables are of one instant.
pub(super) struct Opened {
    room: Arc<dyn Tables>,
    context: Context,
    reader: Mutex<Option<Arc<dyn Reader>>>,
    scans: Arc<AtomicUsize>,
}

impl Opened {
    pub fn new(room: Arc<dyn Tables>, context: Context, scans: Arc<AtomicUsize>) -> Opened {
        Opened { room, context, reader: Mutex::new(None), scans }
    }

    /// The instant is that of the first call.
    fn reader(&self) -> Result<Arc<dyn Reader>, QueryError> {
        let mut reader = self.reader.lock();
        match &*reader {
            Some(reader) => Ok(reader.clone()),
            None => Ok(reader.insert(self.room.open(&self.context.tenant)?).clone()),
        }
    }

    pub fn warning(&self) -> Option<String> {
        self.reader.lock().as_ref().and_then(|reader| reader.warning())
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Provider {
    pub spec: &'static TableSpec,
    pub schema: SchemaRef,
    pub room: Arc<Opened>,
}

#[async_trait]
impl TableProvider for Provider {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let how = |understood| if understood { TableProviderFilterPushDown::Inexact } else { TableProviderFilterPushDown::Unsupported };
        Ok(filters.iter().map(|filter| how(Narrowed::is_understood(self.spec, filter))).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.room.scans.fetch_add(1, Ordering::Relaxed) >= SCANS_MAX {
            return plan_err!("a statement may read tables {SCANS_MAX} times");
        }
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let columns = schema.fields().iter().map(|f| f.name().clone()).collect();
        let request = Narrowed::by(self.spec, filters).request(self.spec, columns);
        let scan = Scan { schema: schema.clone(), request, room: self.room.clone() };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(scan)], None, [], false, limit)?))
    }
}

#[derive(Debug)]
struct Scan {
    schema: SchemaRef,
    request: Request,
    room: Arc<Opened>,
}

/// A batch on its way to the operator that asks for it; from then on it is the operator's to account for.
struct OnTheWay {
    batch: RecordBatch,
    context: Context,
    bytes: u64,
}

impl OnTheWay {
    fn new(batch: RecordBatch, context: &Context) -> Result<OnTheWay, QueryError> {
        let bytes = batch.get_array_memory_size() as u64;
        context.reserve(bytes)?;
        Ok(OnTheWay { batch, context: context.clone(), bytes })
    }
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        self.context.release(self.bytes);
    }
}

fn read(room: &Opened, schema: &SchemaRef, request: &Request, to: &mpsc::Sender<Result<OnTheWay, QueryError>>) -> Result<(), QueryError> {
    let own = room.context.part();
    let mut send = |batch| to.blocking_send(Ok(OnTheWay::new(batch, &room.context)?)).map_err(|_| QueryError::Canceled);
    let mut output = Output::new(schema.clone(), &own, &mut send)?;
    room.reader()?.read(request, &own, &mut output)?;
    output.flush()
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (to, batches) = mpsc::channel(AHEAD_MAX);
        let (room, schema, request) = (self.room.clone(), self.schema.clone(), self.request.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read(&room, &schema, &request, &to) {
                // Whoever is gone does not want to know.
                let _ = to.blocking_send(Err(error));
            }
        });
        let context = self.room.context.clone();
        let taken = ReceiverStream::new(batches).map(move |sent| {
            let taken = sent.and_then(|sent| context.check().map(|()| sent.batch.clone()));
            taken.map_err(|error| DataFusionError::External(Box::new(error)))
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), taken))
    }
}
