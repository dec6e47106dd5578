//! A subnet calculator: the range, mask and size of an IPv4 network.
//!
//! Owns no state. The same agent in other languages lies beside this one, and all give the same answers.

use std::net::Ipv4Addr;

use serde::Deserialize;
use stockade_sdk::{Agent, Description, Failure, Reply, Task, config, json, log};

struct Subnet;

/// What a caller may give along: an address, to learn whether it is in the network.
#[derive(Deserialize)]
struct Context {
    address: Option<String>,
}

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    first: u32,
    prefix: u32,
}

impl Network {
    /// Finds the network in a task, such as `10.1.2.3/22`.
    fn find(task: &str) -> Result<Self, Failure> {
        let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == '/';
        let words = task.split(|c| !is_part(c)).map(|word| word.trim_end_matches('.'));
        let Some(word) = words.into_iter().find(|word| word.contains('/')) else {
            return Err(Failure::invalid_input(
                "name a network, as in \"What is the range of 10.1.2.3/22?\"",
            ));
        };
        Self::parse(word).ok_or_else(|| {
            Failure::invalid_input(format!(
                "`{word}` is no IPv4 network: write four numbers up to 255 and a prefix up to 32, as in 10.1.2.3/22"
            ))
        })
    }

    fn parse(word: &str) -> Option<Self> {
        let (address, prefix) = word.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u32 = prefix.parse().ok().filter(|number| *number <= 32 && prefix.len() <= 2)?;
        Some(Self { first: u32::from(address) & mask(prefix), prefix })
    }

    fn last(self) -> u32 {
        self.first | !mask(self.prefix)
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.first
    }

    fn addresses(self) -> u64 {
        1 << (32 - self.prefix)
    }

    /// How many addresses hosts can have, where `reserved` of each network are not for them.
    fn hosts(self, reserved: u64) -> u64 {
        // A link of two and a single host have nothing to reserve.
        if self.prefix >= 31 { self.addresses() } else { self.addresses().saturating_sub(reserved) }
    }
}

/// The mask with this many leading ones.
fn mask(prefix: u32) -> u32 {
    u32::MAX.checked_shl(32 - prefix).unwrap_or(0)
}

impl Agent for Subnet {
    fn describe() -> Description {
        Description::new(
            "Subnet Calculator",
            "Works out the address range, the mask and the number of hosts of an IPv4 network in CIDR notation, \
             and whether an address is in it.",
        )
        .version(env!("CARGO_PKG_VERSION"))
        .category("network")
        .triggers(["subnet", "netmask", "network mask", "cidr", "ip range", "address range", "how many hosts"])
        .self_tests([
            ("What is the range of 10.1.2.3/22?", "10.1.0.0 to 10.1.3.255"),
            ("Netmask of 172.16.0.0/12", "255.240.0.0"),
        ])
        .examples(["How many hosts fit into 192.168.1.0/26", "Which addresses are in 10.0.0.0/30"])
        .context_schema(
            r#"{"type":["object","null"],"properties":{"address":{"type":"string","description":"An address to look for in the network"}}}"#,
        )
        .cost_per_query("$0.000")
    }

    fn handle(task: Task) -> Result<Reply, Failure> {
        let network = Network::find(&task.query)?;
        let context: Option<Context> = task.context_as()?;
        let reserved = config::parse("reserved")?.unwrap_or(2);
        let Network { first, prefix } = network;
        let (addresses, hosts) = (network.addresses(), network.hosts(reserved));
        let [first, last, mask] = [first, network.last(), mask(prefix)].map(Ipv4Addr::from);
        log::info!("the network {first}/{prefix}");
        let mut text = format!(
            "{first}/{prefix}: {first} to {last}, mask {mask}, {hosts} of {addresses} addresses for hosts."
        );
        let mut data = json!({
            "network": first, "prefix": prefix, "first": first, "last": last, "mask": mask,
            "addresses": addresses, "hosts": hosts,
        });
        if let Some(address) = context.and_then(|context| context.address) {
            let Ok(address) = address.parse() else {
                let message = format!("`{address}` in the context is no IPv4 address");
                return Err(Failure::invalid_input(message));
            };
            let contains = network.contains(address);
            text += &format!(" {address} is {}one of them.", if contains { "" } else { "not " });
            data["contains"] = contains.into();
        }
        Ok(Reply::text(text).with_data(data))
    }
}

stockade_sdk::agent!(Subnet);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_found_in_tasks() {
        let network =
            |task| Network::find(task).map(|Network { first, prefix }| (Ipv4Addr::from(first), prefix));
        assert_eq!(network("Range of 10.1.2.3/22."), Ok((Ipv4Addr::new(10, 1, 0, 0), 22)));
        assert_eq!(network("255.255.255.255/0"), Ok((Ipv4Addr::UNSPECIFIED, 0)));
        for wrong in
            ["subnets", "10.0.0.0", "10.0.0/8", "1.2.3.4/33", "1.2.3.04/8", "1.2.3.4/5/6", "/", "1.2.3.4/"]
        {
            assert!(matches!(network(wrong), Err(Failure::InvalidInput(_))), "{wrong}");
        }
    }
}
