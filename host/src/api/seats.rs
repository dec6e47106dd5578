//! Who may hold how many connections: all together, and each client's address.
//!
//! Owns the counts. A connection holds a [`Place`], and one that is dropped makes room. Limits are read
//! from `[server]` as they stand at that moment. It does not touch sockets.
//!
//! A seat is one of `max_connections`. Beyond them a few places are kept in reserve, from which only the
//! open health endpoints are answered, so that a host that is full can be told from one that is dead. A request
//! of another kind that came there waits for a seat a while.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::ServerConfig;

/// Connections beyond `max_connections` that are kept for health.
const RESERVE: u32 = 16;
/// Those of them that one address may hold.
const RESERVE_OF_ONE: u32 = 8;
/// Connections whose request waits for a seat.
const WAITING: u32 = 256;
/// Those of them that may be of one address.
const WAITING_OF_ONE: u32 = 128;
/// Connections without a seat that are on their way out.
const LEAVING: u32 = 256;

/// Every connection's place.
pub(super) struct Seats {
    server: Arc<ArcSwap<ServerConfig>>,
    places: Mutex<Places>,
    /// Somebody gave up a place.
    freed: Notify,
}

/// The connections, all and of each address.
#[derive(Default)]
struct Places {
    all: Counts,
    of: HashMap<IpAddr, Counts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    seated: u32,
    reserve: u32,
    waiting: u32,
    leaving: u32,
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// One of `max_connections`.
    Seated,
    /// Kept for health.
    Reserve,
    /// In neither: its request waits for a seat.
    Waiting,
    /// It got none, and is told so.
    Leaving,
}

impl Counts {
    fn of(&mut self, standing: Standing) -> &mut u32 {
        match standing {
            Standing::Seated => &mut self.seated,
            Standing::Reserve => &mut self.reserve,
            Standing::Waiting => &mut self.waiting,
            Standing::Leaving => &mut self.leaving,
        }
    }
}

impl Places {
    fn add(&mut self, address: Option<IpAddr>, standing: Standing) {
        *self.all.of(standing) += 1;
        if let Some(address) = address {
            *self.of.entry(address).or_default().of(standing) += 1;
        }
    }

    fn remove(&mut self, address: Option<IpAddr>, standing: Standing) {
        *self.all.of(standing) -= 1;
        if let Some(address) = address {
            self.remove_of(address, standing);
        }
    }

    fn remove_of(&mut self, address: IpAddr, standing: Standing) {
        if let Some(counts) = self.of.get_mut(&address) {
            *counts.of(standing) -= 1;
            if *counts == Counts::default() {
                self.of.remove(&address);
            }
        }
    }

    /// What an address holds; nothing counts for those that have no share.
    fn held_by(&self, address: Option<IpAddr>) -> Counts {
        address.and_then(|address| self.of.get(&address)).copied().unwrap_or_default()
    }

    fn has_seat(&self, address: Option<IpAddr>, server: &ServerConfig) -> bool {
        self.all.seated < server.max_connections
            && self.held_by(address).seated < server.address_connections()
    }
}

/// Whose seats are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Crowd {
    /// Any seat helps.
    anybody: bool,
    /// These addresses have their share, and want more: only their own help.
    of: HashSet<IpAddr>,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSeat {
    /// The address has its share.
    OfAddress,
    /// All are taken.
    OfAll,
}

impl Seats {
    pub(super) fn new(server: Arc<ArcSwap<ServerConfig>>) -> Arc<Self> {
        Arc::new(Self { server, places: Mutex::default(), freed: Notify::new() })
    }

    /// Waits until one more connection can be taken at all.
    pub(super) async fn until_room(&self) {
        let fits = || {
            let all = self.places.lock().all;
            let free = all.seated + all.waiting < self.server.load().max_connections || all.reserve < RESERVE;
            (free && all.leaving < LEAVING).then_some(())
        };
        until(&self.freed, fits).await;
    }

    /// Whose seats are wanted by those that have none, if there are such.
    pub(super) fn crowd(&self) -> Option<Crowd> {
        let share = self.server.load().address_connections();
        let places = self.places.lock();
        let mut nameless = places.all.reserve + places.all.waiting;
        if nameless == 0 {
            return None;
        }
        let mut crowd = Crowd::default();
        for (address, counts) in &places.of {
            let wanting = counts.reserve + counts.waiting;
            nameless -= wanting;
            if wanting > 0 && counts.seated >= share {
                crowd.of.insert(*address);
            } else if wanting > 0 {
                crowd.anybody = true;
            }
        }
        crowd.anybody |= nameless > 0;
        Some(crowd)
    }

    /// A place for a connection of `address`; one without an address has no share of its own. `None`: the
    /// address holds so much that the connection is closed.
    pub(super) fn place(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let address = address.map(whole);
        let server = self.server.load();
        let mut places = self.places.lock();
        let all = places.all;
        // Whoever waits for a seat goes first.
        let standing =
            if all.seated + all.waiting < server.max_connections && places.has_seat(address, &server) {
                Standing::Seated
            } else if all.reserve < RESERVE && places.held_by(address).reserve < RESERVE_OF_ONE {
                Standing::Reserve
            } else {
                return None;
            };
        places.add(address, standing);
        drop(places);
        Some(Place { seats: Arc::clone(self), address, standing: Mutex::new(standing) })
    }

    /// Counts a request that a trusted proxy handed on as one connection of its client, until the guard is
    /// dropped. `None`: the client has its share.
    pub(super) fn client(self: &Arc<Self>, address: IpAddr) -> Option<Client> {
        let address = whole(address);
        let most = self.server.load().address_connections();
        let mut places = self.places.lock();
        if places.held_by(Some(address)).seated >= most {
            return None;
        }
        // Among all connections the proxy's own is counted already.
        places.of.entry(address).or_default().seated += 1;
        Some(Client { seats: Arc::clone(self), address })
    }
}

/// Asks until there is an answer, again each time that something is freed.
pub(super) async fn until<T>(freed: &Notify, mut ask: impl FnMut() -> Option<T>) -> T {
    loop {
        let notified = freed.notified();
        let mut notified = std::pin::pin!(notified);
        // From here on nothing that is freed is missed.
        notified.as_mut().enable();
        if let Some(answer) = ask() {
            return answer;
        }
        notified.await;
    }
}

/// What counts as one client: whoever has an IPv6 address has all of its network of 64 bits.
fn whole(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address => address,
    }
}

/// A connection's place; dropped with the connection.
pub(super) struct Place {
    seats: Arc<Seats>,
    address: Option<IpAddr>,
    standing: Mutex<Standing>,
}

impl Place {
    /// Whether it is one of `max_connections`.
    pub(super) fn is_seat(&self) -> bool {
        *self.standing.lock() == Standing::Seated
    }

    /// Whether it helps `crowd` if this place is given up.
    pub(super) fn is_wanted(&self, crowd: &Crowd) -> bool {
        crowd.anybody || self.address.is_some_and(|address| crowd.of.contains(&address))
    }

    /// Gets a seat, at once or after waiting for as long as this.
    pub(super) async fn seat(&self, wait: Duration) -> Result<(), NoSeat> {
        if self.is_seat() {
            return Ok(());
        }
        if self.take_seat() {
            return Ok(());
        }
        if !self.wait() {
            return Err(self.leave());
        }
        let seat = until(&self.seats.freed, || self.take_seat().then_some(()));
        tokio::time::timeout(wait, seat).await.map_err(|_| self.leave())
    }

    fn take_seat(&self) -> bool {
        let server = self.seats.server.load();
        let mut places = self.seats.places.lock();
        let free = places.has_seat(self.address, &server);
        if free {
            self.become_one(&mut places, Standing::Seated);
        }
        free
    }

    fn wait(&self) -> bool {
        let mut places = self.seats.places.lock();
        let may = places.all.waiting < WAITING && places.held_by(self.address).waiting < WAITING_OF_ONE;
        if may {
            self.become_one(&mut places, Standing::Waiting);
            drop(places);
            // Its place in the reserve is free.
            self.seats.freed.notify_waiters();
        }
        may
    }

    /// Gives up the reserve, for the next who asks for health. A seat is kept.
    pub(super) fn leave(&self) -> NoSeat {
        let server = self.seats.server.load();
        let mut places = self.seats.places.lock();
        let full = places.held_by(self.address).seated >= server.address_connections();
        if *self.standing.lock() != Standing::Seated {
            self.become_one(&mut places, Standing::Leaving);
        }
        drop(places);
        self.seats.freed.notify_waiters();
        if full { NoSeat::OfAddress } else { NoSeat::OfAll }
    }

    fn become_one(&self, places: &mut Places, next: Standing) {
        let mut standing = self.standing.lock();
        places.remove(self.address, *standing);
        places.add(self.address, next);
        *standing = next;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seats.places.lock().remove(self.address, *self.standing.get_mut());
        self.seats.freed.notify_waiters();
    }
}

/// A request that came through a trusted proxy.
pub(super) struct Client {
    seats: Arc<Seats>,
    address: IpAddr,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.seats.places.lock().remove_of(self.address, Standing::Seated);
        self.seats.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn seats_of(change: impl FnOnce(&mut ServerConfig)) -> Arc<Seats> {
        let mut server = Config::defaults(std::path::Path::new("/")).server;
        change(&mut server);
        Seats::new(Arc::new(ArcSwap::from_pointee(server)))
    }

    fn at(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    fn seated(seats: &Arc<Seats>, address: Option<IpAddr>, wanted: usize) -> Vec<Place> {
        let mut places: Vec<Place> = (0..wanted).filter_map(|_| seats.place(address)).collect();
        places.retain(Place::is_seat);
        places
    }

    #[test]
    fn one_address_has_most_and_never_all() {
        let seats = seats_of(|server| server.max_connections = 128);
        let first = seated(&seats, at(1), 200);
        assert_eq!(first.len(), 126);
        let second = seated(&seats, at(2), 200);
        assert_eq!(second.len(), 2);
        drop(first);
        assert_eq!(seated(&seats, at(3), 10).len(), 10);
        // A proxy's connections are many clients'.
        assert_eq!(seated(&seats, None, 200).len(), 126);
    }

    #[test]
    fn the_reserve_is_small_and_shared() {
        let seats = seats_of(|server| server.max_connections = 2);
        let _seats = [seats.place(at(1)), seats.place(at(2))];
        let of_one: Vec<_> = (0..20).filter_map(|_| seats.place(at(1))).collect();
        assert_eq!(of_one.len(), RESERVE_OF_ONE as usize);
        let of_another: Vec<_> = (0..20).filter_map(|_| seats.place(at(2))).collect();
        assert_eq!(of_another.len(), (RESERVE - RESERVE_OF_ONE) as usize);
        assert!(seats.place(at(3)).is_none());
        drop(of_one);
        assert!(seats.place(at(3)).is_some_and(|place| !place.is_seat()));
    }

    #[tokio::test]
    async fn who_waits_gets_the_seat_that_is_given_up() {
        let seats = seats_of(|server| server.max_connections = 2);
        let first = seats.place(at(1)).expect("a place");
        let second = seats.place(at(2)).expect("a place");
        let late = Arc::new(seats.place(at(1)).expect("a place in the reserve"));
        let waiting = tokio::spawn({
            let late = late.clone();
            async move { late.seat(Duration::from_secs(3600)).await }
        });
        while seats.places.lock().all.waiting == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(seats.places.lock().all.reserve, 0, "who waits is not in the reserve");
        drop(first);
        assert_eq!(waiting.await.expect("it ends"), Ok(()));
        assert!(late.is_seat());
        assert_eq!(seats.crowd(), None);
        let refused = seats.place(at(1)).expect("a place in the reserve");
        let crowd = seats.crowd().expect("somebody wants a seat");
        assert!(late.is_wanted(&crowd) && !second.is_wanted(&crowd), "only its own address can help");
        assert_eq!(refused.seat(Duration::ZERO).await, Err(NoSeat::OfAddress));
        assert_eq!(seats.crowd(), None, "it is on its way out");
    }

    #[test]
    fn counts_come_back_to_nothing() {
        let seats = seats_of(|_| {});
        let places = [seats.place(at(1)), seats.place(None)];
        let client = seats.client(IpAddr::from([10, 0, 0, 9]));
        assert!(client.is_some());
        drop((places, client));
        assert_eq!(seats.places.lock().all, Counts::default());
        assert!(seats.places.lock().of.is_empty());
    }

    #[test]
    fn who_comes_through_a_proxy_has_a_share_like_others() {
        let seats = seats_of(|server| server.address_connections = Some(3));
        let client = |last| seats.client(IpAddr::from([10, 0, 0, last]));
        let held: Vec<_> = (0..5).filter_map(|_| client(1)).collect();
        assert_eq!(held.len(), 3);
        assert!(client(2).is_some());
        drop(held);
        assert!(client(1).is_some());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let parse = |text: &str| whole(text.parse().expect("an address"));
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:1"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
    }
}
