//! What another user of CUPTI holds, as its own calls tell. Any thread writes, the shim's own thread reads.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use cupti_sys::function as f;

/// Activity kinds lie below this (56 in 13.5).
const KINDS: usize = 128;
/// Callback domains lie below this (7 in 13.5), and ids of each below that (877).
const DOMAINS: usize = 8;
const IDS: usize = 1024;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Presence {
    /// When it last called, ns; 0 = never.
    last_ns: AtomicU64,
    /// Its subscriptions.
    subscriptions: AtomicU32,
    /// The one whose callbacks pass through the relay, or null.
    handle: AtomicPtr<c_void>,
    callback: AtomicPtr<c_void>,
    user_data: AtomicPtr<c_void>,
    kinds: [AtomicU64; KINDS / 64],
    callbacks: [[AtomicU64; IDS / 64]; DOMAINS],
    clock: AtomicPtr<c_void>,
    requested: AtomicPtr<c_void>,
    completed: AtomicPtr<c_void>,
}

impl Presence {
    pub(crate) const fn new() -> Self {
        Self {
            last_ns: AtomicU64::new(0),
            subscriptions: AtomicU32::new(0),
            handle: AtomicPtr::new(null_mut()),
            callback: AtomicPtr::new(null_mut()),
            user_data: AtomicPtr::new(null_mut()),
            kinds: [const { AtomicU64::new(0) }; KINDS / 64],
            callbacks: [const { [const { AtomicU64::new(0) }; IDS / 64] }; DOMAINS],
            clock: AtomicPtr::new(null_mut()),
            requested: AtomicPtr::new(null_mut()),
            completed: AtomicPtr::new(null_mut()),
        }
    }

    /// It called at `now`.
    pub(crate) fn called(&self, now: u64) {
        self.last_ns.store(now.max(1), Ordering::Release);
    }

    /// CUPTI is the other's at `now`: it collects activity, holds a subscription that cannot be shared, or called less
    /// than `quiet` ago.
    pub(crate) fn holds(&self, now: u64, quiet: Duration) -> bool {
        let last = self.last_ns.load(Ordering::Acquire);
        if last == 0 {
            return false;
        }
        let quiet = u64::try_from(quiet.as_nanos()).unwrap_or(u64::MAX);
        let relayed = u32::from(!self.handle.load(Ordering::Acquire).is_null());
        self.kinds.iter().any(|word| word.load(Ordering::Acquire) != 0)
            || self.subscriptions.load(Ordering::Acquire) > relayed
            || now.saturating_sub(last) < quiet
    }

    /// It was there and holds something still.
    pub(crate) fn stays(&self) -> bool {
        self.subscriptions.load(Ordering::Acquire) != 0
            || self.kinds.iter().any(|word| word.load(Ordering::Acquire) != 0)
    }

    /// It subscribed. `relayed`: its callbacks pass through the relay to this function.
    pub(crate) fn subscribed(
        &self,
        handle: f::Subscriber,
        relayed: Option<(*mut c_void, *mut c_void)>,
    ) {
        self.subscriptions.fetch_add(1, Ordering::AcqRel);
        if let Some((callback, user_data)) = relayed {
            self.callback.store(callback, Ordering::Release);
            self.user_data.store(user_data, Ordering::Release);
            self.handle.store(handle, Ordering::Release);
        }
    }

    /// It gave a subscription up, and the callbacks with it.
    pub(crate) fn unsubscribed(&self, handle: f::Subscriber) {
        let _none = self
            .subscriptions
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1));
        if self.handle.load(Ordering::Acquire) == handle {
            self.handle.store(null_mut(), Ordering::Release);
        }
        if self.subscriptions.load(Ordering::Acquire) == 0 {
            clear(self.callbacks.as_flattened());
        }
    }

    /// It ended everything (`cuptiFinalize`).
    pub(crate) fn finalized(&self) {
        self.subscriptions.store(0, Ordering::Release);
        self.handle.store(null_mut(), Ordering::Release);
        self.set_clock(null_mut());
        clear(&self.kinds);
        clear(self.callbacks.as_flattened());
    }

    /// The subscription that is relayed, or null.
    pub(crate) fn handle(&self) -> f::Subscriber {
        self.handle.load(Ordering::Acquire)
    }

    /// The relayed subscription's function and its argument.
    pub(crate) fn callback(&self) -> (*mut c_void, *mut c_void) {
        (self.callback.load(Ordering::Acquire), self.user_data.load(Ordering::Acquire))
    }

    /// It turned a kind of activity on or off. A kind beyond the table's is not kept: there the call itself keeps the
    /// shim away for a while, and that is all.
    pub(crate) fn kind(&self, kind: u32, on: bool) {
        if let Some(word) = self.kinds.get(kind as usize / 64) {
            set(word, kind, on);
        }
    }

    /// It turned a callback on or off.
    pub(crate) fn wants(&self, domain: u32, id: u32, on: bool) {
        let word =
            self.callbacks.get(domain as usize).and_then(|words| words.get(id as usize / 64));
        if let Some(word) = word {
            set(word, id, on);
        }
    }

    /// It turned a domain on or off; all of them for `None`.
    pub(crate) fn wants_domain(&self, domain: Option<u32>, on: bool) {
        let value = if on { u64::MAX } else { 0 };
        for (index, words) in self.callbacks.iter().enumerate() {
            if domain.is_none_or(|domain| domain as usize == index) {
                fill(words, value);
            }
        }
    }

    /// Whether it asked for this callback.
    pub(crate) fn is_wanted(&self, domain: u32, id: u32) -> bool {
        self.callbacks
            .get(domain as usize)
            .and_then(|words| words.get(id as usize / 64))
            .is_some_and(|word| word.load(Ordering::Acquire) & bit(id) != 0)
    }

    /// Its functions that hand buffers out and take them back, null where it registered none.
    pub(crate) fn buffers(&self) -> (*mut c_void, *mut c_void) {
        (self.requested.load(Ordering::Acquire), self.completed.load(Ordering::Acquire))
    }

    /// It registered functions for buffers.
    pub(crate) fn set_buffers(&self, requested: *mut c_void, completed: *mut c_void) {
        self.requested.store(requested, Ordering::Release);
        self.completed.store(completed, Ordering::Release);
    }

    pub(crate) fn clock(&self) -> *mut c_void {
        self.clock.load(Ordering::Acquire)
    }

    /// It replaced CUPTI's clock.
    pub(crate) fn set_clock(&self, clock: *mut c_void) {
        self.clock.store(clock, Ordering::Release);
    }
}

fn bit(number: u32) -> u64 {
    1 << (number % 64)
}

fn set(word: &AtomicU64, number: u32, on: bool) {
    if on {
        word.fetch_or(bit(number), Ordering::AcqRel);
    } else {
        word.fetch_and(!bit(number), Ordering::AcqRel);
    }
}

fn clear(words: &[AtomicU64]) {
    fill(words, 0);
}

fn fill(words: &[AtomicU64], value: u64) {
    for word in words {
        word.store(value, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const QUIET: Duration = Duration::from_secs(10);

    fn handle(number: usize) -> f::Subscriber {
        std::ptr::without_provenance_mut(number)
    }

    #[test]
    fn who_never_called_holds_nothing() {
        assert!(!Presence::new().holds(5 * SECOND, QUIET));
    }

    #[test]
    fn a_call_keeps_the_shim_away_for_a_while() {
        let presence = Presence::new();
        presence.called(SECOND);
        assert!(presence.holds(10 * SECOND, QUIET));
        assert!(!presence.holds(11 * SECOND, QUIET));
    }

    #[test]
    fn activity_keeps_it_away_until_it_is_off() {
        let presence = Presence::new();
        presence.called(SECOND);
        presence.kind(10, true);
        presence.kind(70, true);
        assert!(presence.holds(3600 * SECOND, QUIET));
        presence.kind(10, false);
        assert!(presence.holds(3600 * SECOND, QUIET));
        presence.kind(70, false);
        assert!(!presence.holds(3600 * SECOND, QUIET));
    }

    #[test]
    fn only_a_relayed_subscription_can_be_shared() {
        let presence = Presence::new();
        presence.called(SECOND);
        presence.subscribed(handle(16), None);
        assert!(presence.holds(3600 * SECOND, QUIET));
        presence.unsubscribed(handle(16));
        assert!(!presence.holds(3600 * SECOND, QUIET));
        presence.subscribed(handle(32), Some((handle(1), handle(2))));
        assert!(!presence.holds(3600 * SECOND, QUIET));
        assert_eq!(presence.handle(), handle(32));
        presence.subscribed(handle(48), None);
        assert!(presence.holds(3600 * SECOND, QUIET));
        presence.finalized();
        assert!(!presence.holds(3600 * SECOND, QUIET));
        assert!(presence.handle().is_null());
    }

    #[test]
    fn callbacks_are_known_one_by_one_and_by_domain() {
        let presence = Presence::new();
        presence.wants(3, 1, true);
        assert!(presence.is_wanted(3, 1));
        assert!(!presence.is_wanted(3, 2));
        assert!(!presence.is_wanted(1, 1));
        presence.wants_domain(Some(1), true);
        assert!(presence.is_wanted(1, 514));
        presence.wants(1, 514, false);
        assert!(!presence.is_wanted(1, 514));
        presence.wants_domain(None, false);
        assert!(!presence.is_wanted(3, 1));
        // Beyond every table.
        presence.wants(99, 5000, true);
        assert!(!presence.is_wanted(99, 5000));
        presence.subscribed(handle(16), None);
        presence.wants(3, 1, true);
        presence.unsubscribed(handle(16));
        assert!(!presence.is_wanted(3, 1));
    }
}
