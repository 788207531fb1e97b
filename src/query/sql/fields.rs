//! `attributes['http.route']` is the column `"span.http.route"`, so that no scan has to make the whole map for it.

use super::table::Family;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, GetFieldAccess};

#[derive(Debug)]
pub(super) struct MapFields(pub Vec<Family>);

impl ExprPlanner for MapFields {
    fn plan_field_access(&self, access: RawFieldAccessExpr, schema: &DFSchema) -> Result<PlannerResult<RawFieldAccessExpr>> {
        if let (Expr::Column(map), GetFieldAccess::NamedStructField { name: ScalarValue::Utf8(Some(key)) }) =
            (&access.expr, &access.field_access)
        {
            let own = self.0.iter().filter(|family| family.map == map.name);
            let mut columns = own.map(|family| Column::new(map.relation.clone(), format!("{}{key}", family.prefix)));
            if let Some(column) = columns.find(|column| schema.has_column(column)) {
                return Ok(PlannerResult::Planned(Expr::Column(column)));
            }
        }
        Ok(PlannerResult::Original(access))
    }
}
