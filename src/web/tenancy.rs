use crate::model::{Failure, FailureKind, TenantId};
use http::HeaderMap;

/// Where the tenant of a request comes from (decisions 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tenancy {
    /// One tenant; the header is ignored.
    #[default]
    Off,
    /// `X-Scope-OrgID`, which must be there.
    Header,
}

impl Tenancy {
    pub fn tenant(self, headers: &HeaderMap) -> Result<TenantId, Failure> {
        if self == Tenancy::Off {
            return Ok(TenantId::default_tenant());
        }
        let header = headers.get("x-scope-orgid").ok_or_else(|| Failure::new(FailureKind::Unauthenticated, "no org id"))?;
        let text = header.to_str().map_err(|_| Failure::invalid("X-Scope-OrgID is not ASCII"))?;
        TenantId::parse(text).map_err(|e| Failure::invalid(e.to_string()))
    }
}
