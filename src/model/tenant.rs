use std::fmt;
use std::sync::Arc;

/// Whose data it is: part of every path, frame, key and budget (invariant 6).
///
/// 1 to 150 bytes of `[A-Za-z0-9!_.*'()-]`, and neither `.` nor `..`, so that it is safe as one path component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant id must be 1 to 150 characters of A-Z a-z 0-9 ! _ . * ' ( ) - and not . or .., got id={0:?}")]
pub struct TenantError(String);

impl TenantId {
    /// The one tenant while tenancy is off.
    pub fn default_tenant() -> TenantId {
        TenantId(Arc::from("default"))
    }

    pub fn parse(text: &str) -> Result<TenantId, TenantError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!_.*'()-".contains(&b);
        let ok = (1..=150).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != "..";
        if ok { Ok(TenantId(Arc::from(text))) } else { Err(TenantError(text.chars().take(200).collect())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::TenantId;

    #[test]
    fn only_names_that_are_safe_as_a_path_component_are_tenants() {
        for good in ["default", "a", "team-1", "x(y)'!*._", &"a".repeat(150)] {
            assert!(TenantId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ü", "a|b", &"a".repeat(151)] {
            assert!(TenantId::parse(bad).is_err(), "{bad}");
        }
    }
}
