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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_is_read_back_however_it_is_written(bytes in any::<[u8; 16]>(), zeros in 0usize..32, upper in any::<bool>()) {
            let hex = TraceId(bytes).to_hex();
            let digits = hex.trim_start_matches('0');
            let text = format!("{}{digits}", "0".repeat(zeros.min(32 - digits.len())));
            let text = if upper { text.to_uppercase() } else { text };
            prop_assert_eq!(parse_trace_id(&text).map_err(|e| e.message), Ok(TraceId(bytes)));
        }

        #[test]
        fn any_other_text_is_refused(text in "\\PC{0,40}") {
            let hex = text.len() <= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
            prop_assert_eq!(parse_trace_id(&text).is_ok(), hex);
        }
    }

    #[test]
    fn short_ids_are_padded_and_others_refused() {
        assert_eq!(parse_trace_id("ABC").unwrap().to_hex(), format!("{:0>32}", "abc"));
        let error = |text: &str| parse_trace_id(text).unwrap_err().message;
        assert_eq!(error("xyz"), "trace IDs can only contain hex characters: invalid character 'x' at position 1");
        assert_eq!(error("12é"), "trace IDs can only contain hex characters: invalid character 'é' at position 3");
        assert_eq!(error(&"1".repeat(33)), "trace IDs can't be larger than 128 bits");
    }
}
