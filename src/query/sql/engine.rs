//! From a question to the bytes of its answer.

use super::encode::{Encoder, Format};
use super::error::SqlError;
use super::fields::MapFields;
use super::memory;
use super::provider::{Opened, Provider, SCANS_MAX};
use super::statement::{Parsed, parse};
use super::table::{Family, Tables};
use crate::model::TenantId;
use crate::query::{Context, Pool, QueryError};
use crate::runtime::cores;
use bytes::Bytes;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionStateDefaults};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use futures_util::StreamExt;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// Bytes of an answer that are handed on together.
const CHUNK_BYTES: usize = 64 << 10;

/// Address space of a thread's stack, of which only what is used is memory: plans are walked by recursion.
const STACK_BYTES: usize = 64 << 20;

/// Between two looks at whether anybody still waits for the answer.
const LOOK: Duration = Duration::from_millis(50);

/// Queries, those included that were given up but do not stop at once.
const RUNNING_PER_CORE: usize = 2;

/// What the tables are found under; both names may be left out.
const CATALOG: &str = "monocle";
const SCHEMA: &str = "public";

/// Functions whose results may be much larger than what they are given, whatever the budget.
const LEFT_OUT: [&str; 8] = ["repeat", "lpad", "rpad", "array_repeat", "array_resize", "generate_series", "range", "spark_repeat"];

/// What to bind placeholders to.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Parameters {
    #[default]
    None,
    /// `$1`, `$2`.
    Listed(Vec<serde_json::Value>),
    /// `$name`.
    Named(BTreeMap<String, serde_json::Value>),
}

#[derive(Debug, Clone)]
pub struct Question {
    pub text: String,
    pub parameters: Parameters,
    pub format: Format,
}

/// Answers questions in SQL. Cheap until the first one.
pub struct Sql {
    pool: Pool,
    rooms: Vec<Arc<dyn Tables>>,
    engine: Mutex<Option<Arc<Engine>>>,
}

impl Sql {
    pub fn new(pool: Pool, rooms: Vec<Arc<dyn Tables>>) -> Arc<Sql> {
        Arc::new(Sql { pool, rooms, engine: Mutex::new(None) })
    }

    /// The budget of a new query.
    pub fn context(&self, tenant: TenantId) -> Context {
        self.pool.context(tenant)
    }

    fn engine(&self) -> Result<Arc<Engine>, QueryError> {
        let mut engine = self.engine.lock();
        match &*engine {
            Some(engine) => Ok(engine.clone()),
            None => Ok(engine.insert(Arc::new(Engine::new(&self.rooms)?)).clone()),
        }
    }

    /// Leaves the bytes of the answer in `to`, and gives what the user should know beside it. What comes before a failure may
    /// have been left there already. The query ends when the future is dropped.
    pub async fn answer(self: Arc<Self>, context: Context, question: Question, to: mpsc::Sender<Chunk>) -> Result<(), SqlError> {
        let (pool, inner) = (self.pool.clone(), context.clone());
        let work = move || {
            let engine = self.engine()?;
            // Operators and scans have threads of their own; this one stands for the slot.
            Ok(engine.run(&inner, engine.clone().answer(inner.clone(), question, to)))
        };
        pool.run(&context, work).await?
    }
}

/// A piece of an answer, and what is to be told beside it as far as it is known by then.
#[derive(Debug)]
pub struct Chunk {
    pub bytes: Bytes,
    pub warnings: Vec<String>,
}

struct Engine {
    /// There until the end.
    threads: Option<Runtime>,
    state: SessionState,
    families: Vec<Family>,
    rooms: Vec<Arc<dyn Tables>>,
    /// Queries whose tasks are there, those included that should have stopped by now.
    running: Arc<AtomicUsize>,
}

/// Counts a task while it is there.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Engine {
    /// It may be let go of where waiting is not allowed.
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(cores())
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        // A sort cannot spill, so it need not keep memory for that.
        .with_sort_spill_reservation_bytes(0);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    config
}

impl Engine {
    fn new(rooms: &[Arc<dyn Tables>]) -> Result<Engine, QueryError> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores())
            .max_blocking_threads(SCANS_MAX * cores())
            .thread_stack_size(STACK_BYTES)
            .thread_name("sql")
            .enable_time()
            .build()
            .map_err(|e| QueryError::Storage(format!("cannot start threads for SQL: {e}")))?;
        let families: Vec<Family> = rooms.iter().flat_map(|room| room.specs()).flat_map(|spec| spec.families).copied().collect();
        let mut planners = SessionStateDefaults::default_expr_planners();
        planners.insert(0, Arc::new(MapFields(families.clone())));
        let functions = SessionStateDefaults::default_scalar_functions();
        let functions = functions.into_iter().filter(|f| !LEFT_OUT.contains(&f.name())).collect();
        let state = SessionStateBuilder::new()
            .with_config(config())
            .with_expr_planners(planners)
            .with_scalar_functions(functions)
            .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
            .with_window_functions(SessionStateDefaults::default_window_functions())
            .build();
        Ok(Engine { threads: Some(threads), state, families, rooms: rooms.to_vec(), running: Arc::default() })
    }

    /// Runs `work` on the engine's threads, and waits for it or until the query has to end.
    fn run(&self, context: &Context, work: impl Future<Output = Result<(), SqlError>> + Send + 'static) -> Result<(), SqlError> {
        let Some(threads) = &self.threads else { return Err(QueryError::Canceled.into()) };
        let running = Running(self.running.clone());
        if self.running.fetch_add(1, Ordering::Relaxed) >= RUNNING_PER_CORE * cores() {
            return Err(QueryError::QueueFull.into());
        }
        let mut task = threads.spawn(async move {
            let _running = running;
            work.await
        });
        let done = threads.block_on(async {
            tokio::select! {
                biased;
                done = &mut task => done,
                stopped = stopped(context) => {
                    task.abort();
                    Ok(Err(stopped.into()))
                }
            }
        });
        done.unwrap_or_else(|error| {
            tracing::error!(%error, "a SQL query panicked");
            Err(QueryError::Storage("query failed: internal error".into()).into())
        })
    }

    async fn answer(self: Arc<Self>, context: Context, question: Question, to: mpsc::Sender<Chunk>) -> Result<(), SqlError> {
        let parsed = parse(&question.text, &self.families)?;
        let (state, rooms) = self.session(&context, &parsed.names)?;
        let answer = plan(&state, parsed, question.parameters).await?;
        write(answer, question.format, &rooms, &to).await
    }

    /// A session for one query, with the rooms that it will have looked into.
    fn session(&self, context: &Context, names: &[String]) -> Result<(SessionState, Vec<Arc<Opened>>), SqlError> {
        let internal = |error: DataFusionError| SqlError::running(&error);
        let scans = Arc::new(AtomicUsize::new(0));
        let schema = MemorySchemaProvider::new();
        let mut rooms = Vec::new();
        for room in &self.rooms {
            let opened = Arc::new(Opened::new(room.clone(), context.clone(), scans.clone()));
            for spec in room.specs() {
                let table = Provider { spec, schema: spec.schema(names), room: opened.clone() };
                schema.register_table(spec.name.into(), Arc::new(table)).map_err(internal)?;
            }
            rooms.push(opened);
        }
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(schema)).map_err(internal)?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.into(), Arc::new(catalog));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(memory::Pool::new(context.clone())))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()
            .map_err(internal)?;
        let mut state = SessionStateBuilder::new_from_existing(self.state.clone())
            .with_catalog_list(Arc::new(catalogs))
            .with_runtime_env(runtime)
            .build();
        // `now()` is one and the same in a statement, and known to its planner.
        state.mark_start_execution();
        Ok((state, rooms))
    }
}

/// Ends when the query has to.
async fn stopped(context: &Context) -> QueryError {
    loop {
        if let Err(error) = context.check() {
            return error;
        }
        tokio::time::sleep(LOOK.min(context.remaining())).await;
    }
}

async fn plan(state: &SessionState, parsed: Parsed, parameters: Parameters) -> Result<SendableRecordBatchStream, SqlError> {
    let planning = |error: DataFusionError| SqlError::planning(&error);
    let plan = state.statement_to_plan(parsed.statement).await.map_err(planning)?;
    let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reads.verify_plan(&plan).map_err(planning)?;
    let plan = match values(parameters)? {
        Some(values) => plan.with_param_values(values).map_err(planning)?,
        None => plan,
    };
    let plan = state.create_physical_plan(&plan).await.and_then(yielding).map_err(planning)?;
    execute_stream(plan, state.task_ctx()).map_err(|error| SqlError::running(&error))
}

/// An operator that makes many rows of few asks its scans seldom, which is where a query stops if it has to: so it pauses by
/// itself, too.
fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let multiplies = |name: &str| ["Join", "Unnest", "Recursive"].iter().any(|part| name.contains(part));
    let each = |node: Arc<dyn ExecutionPlan>| {
        Ok(if multiplies(node.name()) { Transformed::yes(Arc::new(CooperativeExec::new(node)) as _) } else { Transformed::no(node) })
    };
    plan.transform_up(each).map(|done| done.data)
}

async fn write(
    mut answer: SendableRecordBatchStream,
    format: Format,
    rooms: &[Arc<Opened>],
    to: &mpsc::Sender<Chunk>,
) -> Result<(), SqlError> {
    let unwritable = |error| SqlError::Query(QueryError::Execution(format!("the answer cannot be written: {error}")));
    let mut encoder = Encoder::new(format, &answer.schema()).map_err(unwritable)?;
    let send = async |encoder: &mut Encoder| {
        let warnings = rooms.iter().filter_map(|room| room.warning()).collect();
        let chunk = Chunk { bytes: encoder.take().into(), warnings };
        to.send(chunk).await.map_err(|_| SqlError::Query(QueryError::Canceled))
    };
    while let Some(batch) = answer.next().await {
        let batch = batch.map_err(|error| SqlError::running(&error))?;
        for piece in encoder.pieces(&batch) {
            encoder.write(&piece).map_err(unwritable)?;
            if encoder.waiting() >= CHUNK_BYTES {
                send(&mut encoder).await?;
            }
        }
    }
    encoder.finish().map_err(unwritable)?;
    send(&mut encoder).await
}

fn values(parameters: Parameters) -> Result<Option<ParamValues>, SqlError> {
    Ok(match parameters {
        Parameters::None => None,
        Parameters::Listed(list) => Some(list.iter().map(scalar).collect::<Result<Vec<ScalarValue>, SqlError>>()?.into()),
        Parameters::Named(named) => {
            let named = named.iter().map(|(name, value)| Ok((name.clone(), scalar(value)?)));
            Some(named.collect::<Result<HashMap<String, ScalarValue>, SqlError>>()?.into())
        }
    })
}

fn scalar(value: &serde_json::Value) -> Result<ScalarValue, SqlError> {
    use serde_json::Value;
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(b) => ScalarValue::Boolean(Some(*b)),
        Value::Number(n) => match n.as_i64() {
            Some(n) => ScalarValue::Int64(Some(n)),
            None => ScalarValue::Float64(n.as_f64()),
        },
        Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
        Value::Array(_) | Value::Object(_) => {
            return Err(SqlError::statement("a parameter is a string, a number, a boolean or null".into(), None));
        }
    })
}
