use super::error::ApiError;
use crate::model::TraceId;

/// A trace id in a path: hex of either case, shorter than 32 digits padded on the left (contracts/tempo.md 1.2).
pub fn parse_trace_id(text: &str) -> Result<TraceId, ApiError> {
    if let Some((index, c)) = text.chars().enumerate().find(|(_, c)| !c.is_ascii_hexdigit()) {
        let message = format!("trace IDs can only contain hex characters: invalid character '{c}' at position {}", index + 1);
        return Err(ApiError::bad_request(message));
    }
    let padded = format!("{text:0>32}");
    TraceId::from_hex(&padded).ok_or_else(|| ApiError::bad_request("trace IDs can't be larger than 128 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_are_padded_and_others_refused() {
        assert_eq!(parse_trace_id("ABC").unwrap().to_hex(), format!("{:0>32}", "abc"));
        let error = |text: &str| parse_trace_id(text).unwrap_err().message;
        assert_eq!(error("xyz"), "trace IDs can only contain hex characters: invalid character 'x' at position 1");
        assert_eq!(error("12é"), "trace IDs can only contain hex characters: invalid character 'é' at position 3");
        assert_eq!(error(&"1".repeat(33)), "trace IDs can't be larger than 128 bits");
    }
}
