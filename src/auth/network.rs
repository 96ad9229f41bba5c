//! IP networks in CIDR notation (RFC 4632; RFC 4291, section 2.3).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A network, such as `10.0.0.0/8` or `fd00::/8`; an address alone is the network of that host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// The lowest address; never an IPv4 address in IPv6 form.
    first: IpAddr,
    /// How many leading bits an address must share with it.
    bits: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is no address, or no length stands behind it.
    #[error("{0:?} is no network; write it as \"10.0.0.0/8\", \"fd00::/8\" or \"192.168.1.7\"")]
    Form(String),
    /// The length is beyond that of the address.
    #[error("{0:?} has a prefix that is too long; it must be at most {1}")]
    TooLong(String, u8),
    /// Bits behind the prefix are set: two things may be meant.
    #[error("{0:?} is an address within a network; write {1} for the network, or {2} for the host alone")]
    HostBits(String, Network, IpAddr),
}

impl Network {
    /// The network of `bits` leading bits that `address` is in; `None` if an address has fewer. IPv4-mapped IPv6 is taken as IPv4.
    #[must_use]
    pub fn of(address: IpAddr, bits: u8) -> Option<Self> {
        let (address, bits) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) if bits >= 96 => (IpAddr::V4(mapped), bits - 96),
            (own, _) => (own, bits),
        };
        let first = match address {
            IpAddr::V4(host) if bits <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
                Ipv4Addr::from_bits(host.to_bits() & mask).into()
            }
            IpAddr::V6(host) if bits <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
                Ipv6Addr::from_bits(host.to_bits() & mask).into()
            }
            _ => return None,
        };
        Some(Self { first, bits })
    }

    /// The address by which the host at `address` is counted where hosts are bounded: of IPv6 the network of 64 bits, of which one host
    /// has all (RFC 7421); else its own.
    #[must_use]
    pub fn counted_as(address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V4(host) => host.into(),
            host => Self::of(host, 64).map_or(host, |network| network.first),
        }
    }

    /// Whether `address` is in it. An IPv4 address in IPv6 form counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4()
            && Self::of(address, self.bits).is_some_and(|network| network.first == self.first)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let form = || NetworkError::Form(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            // No sign, and nothing that is read differently elsewhere, as "08" is.
            Some(bits)
                if bits.bytes().all(|byte| byte.is_ascii_digit())
                    && (bits == "0" || !bits.starts_with('0')) =>
            {
                bits.parse::<u16>()
                    .map_err(|_| form())?
                    .try_into()
                    .unwrap_or(u8::MAX)
            }
            Some(_) => return Err(form()),
        };
        let too_long = || NetworkError::TooLong(text.to_owned(), most);
        let network = Self::of(address, bits)
            .filter(|_| bits <= most)
            .ok_or_else(too_long)?;
        let has_host_bits = network.first != address.to_canonical() && network.first != address;
        if has_host_bits {
            return Err(NetworkError::HostBits(text.to_owned(), network, address));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks_are_read_and_shown() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown, "{text}");
        }
        for (text, says) in [
            ("", "is no network"),
            ("10.0.0.0/", "is no network"),
            ("10.0.0.0/+8", "is no network"),
            ("10.0.0.0/08", "is no network"),
            ("10.0.0/8", "is no network"),
            ("10.0.0.0/8/8", "is no network"),
            ("example.com", "is no network"),
            ("10.0.0.0/255.0.0.0", "is no network"),
            ("10.0.0.0/99999999", "is no network"),
            ("10.0.0.0/33", "at most 32"),
            ("10.0.0.0/300", "at most 32"),
            ("fd00::/129", "at most 128"),
            ("10.0.0.1/8", "10.0.0.0/8 for the network, or 10.0.0.1 for"),
            ("fd00::1/8", "fd00::/8 for the network"),
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_in_a_network_is_told_from_what_is_not() {
        for (network, address, is_in) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "::10.0.0.1", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "10.0.0.1", false),
            ("::/0", "::ffff:10.0.0.1", false),
            ("::ffff:0:0/96", "10.0.0.1", true),
            ("192.168.1.7", "192.168.1.7", true),
            ("192.168.1.7", "192.168.1.6", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                is_in,
                "{address} in {network}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_network_holds_exactly_what_shares_its_prefix(host in any::<u32>(), other in any::<u32>(), bits in 0u8..=32) {
            let network = Network::of(Ipv4Addr::from_bits(host).into(), bits).unwrap();
            let shares = (host ^ other).leading_zeros() >= u32::from(bits);
            prop_assert_eq!(network.contains(Ipv4Addr::from_bits(other).into()), shares);
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text in "[0-9a-f:./+]{0,40}") {
            let _ = text.parse::<Network>();
        }
    }
}
