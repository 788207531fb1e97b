//! Long answers in several messages.

/// What one message holds at most, unless a single item is larger.
const PACKET_MAX_BYTES: usize = 1 << 20;

/// `items` in their order, in groups of at most [`PACKET_MAX_BYTES`]; at least one group.
pub fn packets<T>(items: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut packets = vec![Vec::new()];
    let mut filled = 0;
    for item in items {
        let bytes = size(&item);
        if filled > 0 && filled + bytes > PACKET_MAX_BYTES {
            packets.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(last) = packets.last_mut() {
            last.push(item);
        }
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_order_and_no_message_is_too_long() {
        let sizes = |items: Vec<usize>| packets(items, |n| *n);
        assert_eq!(sizes(Vec::new()), [Vec::<usize>::new()]);
        let third = PACKET_MAX_BYTES / 3;
        assert_eq!(sizes(vec![third; 4]), [vec![third; 3], vec![third]]);
        assert_eq!(sizes(vec![2 * PACKET_MAX_BYTES, 1]), [vec![2 * PACKET_MAX_BYTES], vec![1]]);
    }
}
