//! `[server] trusted_proxies`: proxies that are believed about the client's address. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use super::entry::Entry;
use super::report::Report;

/// The proxies whose forwarding headers are believed; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether `address` is a trusted proxy's. An IPv4 address counts the same written as an IPv6 one.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Reads addresses and networks, such as `10.0.0.5` and `10.0.0.0/8`.
    ///
    /// # Errors
    /// A help line for the first that is neither.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        texts.into_iter().map(parse_network).collect::<Result<_, _>>().map(Self)
    }
}

/// Reads one entry; the error is a help line.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => text.parse::<IpNet>().map_err(|_| {
            "write an IP address or a network, such as \"10.0.0.5\" or \"10.0.0.0/8\"".to_owned()
        })?,
    };
    if network.prefix_len() == 0 {
        return Err("this trusts everybody, so that each client could choose its own address: name your \
            proxies' addresses"
            .to_owned());
    }
    Ok(network.trunc())
}

/// Reads the setting.
pub(super) fn read(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<TrustedProxies> {
    let texts = entry.text_or_list(report)?;
    let mut networks = Vec::with_capacity(texts.len());
    for (span, text) in texts {
        match parse_network(text) {
            Ok(network) => networks.push(network),
            Err(help) => {
                let message = format!("`{}`: this is not a proxy's address", entry.path);
                report.wrong(span, &entry.path, message, help);
            }
        }
    }
    Some(TrustedProxies(networks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_told_apart() {
        let proxies = TrustedProxies::parse(["10.1.2.3/8", "192.0.2.7", "2001:db8::/32"]).expect("proxies");
        for inside in ["10.255.0.1", "::ffff:10.0.0.1", "192.0.2.7", "2001:db8:1::1"] {
            assert!(proxies.contains(inside.parse().expect("an address")), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "2001:db9::1", "127.0.0.1"] {
            assert!(!proxies.contains(outside.parse().expect("an address")), "{outside}");
        }
        for wrong in ["", "proxy.example", "10.0.0.0/33", "10.0.0.1:80", "0.0.0.0/0", "::/0"] {
            assert!(TrustedProxies::parse([wrong]).is_err(), "{wrong}");
        }
    }
}
