use std::net::{IpAddr, Ipv6Addr};

/// An address, a range `a-b`, or a network in CIDR form; v4 or v6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpPattern {
    first: IpAddr,
    last: IpAddr,
}

impl IpPattern {
    pub fn parse(text: &str) -> Option<IpPattern> {
        if let Some((network, bits)) = text.split_once('/') {
            let network: IpAddr = network.parse().ok()?;
            let bits: u32 = bits.parse().ok()?;
            return match network {
                IpAddr::V4(v4) => {
                    let mask = u32::MAX.checked_shl(32u32.checked_sub(bits)?).unwrap_or(0);
                    let first = v4.to_bits() & mask;
                    Some(IpPattern { first: IpAddr::V4(first.into()), last: IpAddr::V4((first | !mask).into()) })
                }
                IpAddr::V6(v6) => {
                    let mask = u128::MAX.checked_shl(128u32.checked_sub(bits)?).unwrap_or(0);
                    let first = v6.to_bits() & mask;
                    Some(IpPattern { first: IpAddr::V6(first.into()), last: IpAddr::V6((first | !mask).into()) })
                }
            };
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(IpPattern { first, last })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = if self.first.is_ipv4() { address.to_canonical() } else { address };
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }

    /// Whether some address in `text` is inside.
    pub fn found_in(&self, text: &str) -> bool {
        let part_of_address = |b: u8| b.is_ascii_hexdigit() || b == b'.' || b == b':';
        text.as_bytes().split(|b| !part_of_address(*b)).filter(|run| run.len() >= 2).any(|run| {
            let run = std::str::from_utf8(run).unwrap_or("");
            let trimmed = run.trim_end_matches(['.']);
            let v6 = trimmed.parse::<Ipv6Addr>().or_else(|_| trimmed.trim_end_matches(':').parse()).ok().map(IpAddr::V6);
            if let Some(address) = v6 {
                return self.contains(address);
            }
            trimmed.split(':').any(|piece| piece.trim_matches('.').parse::<IpAddr>().is_ok_and(|a| self.contains(a)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_addresses() {
        let hit = |pattern: &str, text: &str| IpPattern::parse(pattern).unwrap().found_in(text);
        assert!(hit("10.1.0.0/16", "client 10.1.2.3:80 said") && !hit("10.1.0.0/16", "10.2.0.1"));
        assert!(hit("10.0.0.0-10.1.255.255", "[10.0.7.7]") && hit("1.2.3.4", "1.2.3.4."));
        assert!(hit("::1", "from ::1 to") && hit("2001:db8::/32", "addr=2001:db8::5") && !hit("::1", "a::b"));
        assert!(hit("0.0.0.0/0", "8.8.8.8") && !hit("0.0.0.0/0", "no address 300.1.1.1"));
        for bad in ["bogus", "1.2.3.4/33", "1.2.3.4-::1", "5.0.0.0-1.0.0.0", ""] {
            assert_eq!(IpPattern::parse(bad), None, "{bad}");
        }
    }
}
