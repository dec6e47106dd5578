//! The one way to what is gated: decide, charge, run, record.
//!
//! Backends cannot be reached past it: [`Backends`] opens in this file alone. A gated call runs inside the
//! future of its guest's call. So it ends with it, at the deadline at the latest, and a guest that waits for
//! it is one that waits: its turn on the guests' threads is over, and nothing is held for it here.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{CallState, Services, grants};
use crate::domain::Policy;

/// What a gated call needs and costs, whatever comes of it.
pub(super) struct GatedCall {
    /// The least policy that allows it.
    pub(super) needs: Policy,
    /// Bytes that it was given.
    pub(super) given: usize,
    /// Fuel for the host's work. It depends on the call's arguments alone, so that a call that is run again
    /// costs the same; it is paid where the call is refused, too.
    pub(super) fuel: u64,
}

/// Why a gated call gave nothing. The interface's own error says it to the guest.
pub(super) enum Refused<E> {
    /// It is not granted; the message says what to add.
    Denied(String),
    /// The backend's word.
    Failed(E),
}

/// What capabilities stand on, out of reach of all but [`CallState::gated`].
pub(super) struct Backends(Arc<Services>);

impl From<Arc<Services>> for Backends {
    fn from(services: Arc<Services>) -> Self {
        Self(services)
    }
}

/// The most denials that are recorded of one call.
const MAX_DENIALS: usize = 32;

impl CallState {
    /// Makes a gated call: counts and charges it, asks whether it is granted and lent, has `run` answer from
    /// the backends, and charges the answer by its `size` in bytes.
    ///
    /// # Errors
    /// The limit of the guest's call that it exceeds, which ends that.
    pub(super) async fn gated<T, E>(
        &mut self,
        call: GatedCall,
        run: impl for<'s> FnOnce(&'s Services) -> BoxFuture<'s, Result<T, E>>,
        size: impl FnOnce(&T) -> usize,
    ) -> wasmtime::Result<Result<T, Refused<E>>> {
        let GatedCall { needs, given, fuel } = call;
        self.meter.charge_call(given)?;
        self.meter.owe(fuel);
        if let Err(message) = self.allowed(&needs) {
            return Ok(Err(Refused::Denied(message)));
        }
        // Nobody knows how long a backend takes before it waits.
        self.leave_inline().await;
        let services = self.backends.0.clone();
        let answer = run(&services).await;
        if let Ok(answer) = &answer {
            self.meter.charge_bytes(size(answer))?;
        }
        Ok(answer.map_err(Refused::Failed))
    }

    /// Whether the guest may have this much of a capability now; a refusal is recorded once.
    fn allowed(&mut self, needs: &Policy) -> Result<(), String> {
        let Err(denial) = grants::check(&self.agent.id, needs, &self.agent.grants, &self.caller) else {
            return Ok(());
        };
        let capability = denial.capability;
        let in_part = self.agent.grants.policy(capability).is_some_and(|granted| !granted.covers(needs));
        let how = if in_part { "is granted in part, and not for this" } else { "is not granted" };
        let message = format!("`{capability}` {how}; add {}", denial.key_to_add);
        if self.denials.len() < MAX_DENIALS && !self.denials.contains(&denial) {
            self.denials.push(denial);
        }
        Err(message)
    }
}
