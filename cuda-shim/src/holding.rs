//! The subscription the shim works with: its own, or as a guest that of another tool which has nothing to do.

use std::ffi::c_void;

use cupti_sys::result::CuptiResult;

use crate::calls::on_callback;
use crate::cupti::Subscription;
use crate::neighbour::{Doors, PRESENCE, set_guest};
use crate::shim::Shim;

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    shim: &'static Shim,
    subscription: Subscription,
    guest: bool,
}

impl Holding {
    /// Subscribes, or becomes a guest. From here on `doors` tell when somebody else wants CUPTI; without them nobody does.
    pub(crate) fn take(
        shim: &'static Shim,
        doors: Option<&mut Doors>,
    ) -> Result<Self, CuptiResult> {
        if let Some(doors) = doors {
            doors.set();
        }
        let lent = PRESENCE.handle();
        if !lent.is_null() {
            set_guest(true);
            return Ok(Self { shim, subscription: Subscription::of(lent), guest: true });
        }
        let user_data = std::ptr::from_ref(shim).cast_mut().cast::<c_void>();
        let subscription = shim.cupti.subscribe(on_callback, user_data)?;
        Ok(Self { shim, subscription, guest: false })
    }

    /// Turns a callback on.
    pub(crate) fn enable(&self, domain: u32, id: u32) -> Result<(), CuptiResult> {
        self.shim.cupti.enable_callback(self.subscription, domain, id)
    }

    /// Turns a callback off, unless the host of a guest wants it.
    pub(crate) fn disable(&self, domain: u32, id: u32) {
        if !(self.guest && PRESENCE.is_wanted(domain, id)) {
            let _unknown = self.shim.cupti.disable_callback(self.subscription, domain, id);
        }
    }

    /// Gives it up. `enabled` are the callbacks that are still on.
    pub(crate) fn leave(self, enabled: impl Iterator<Item = (u32, u32)>) {
        if self.guest {
            enabled.for_each(|(domain, id)| self.disable(domain, id));
            set_guest(false);
        } else {
            // Refused only when the subscription is gone already.
            let _gone = self.shim.cupti.unsubscribe(self.subscription);
        }
    }
}
