//! Devices across processes: one key per UUID, whatever ordinal a process gives it.

use std::collections::HashMap;

use analysis::event::DeviceInfo;
use analysis::ids::DeviceKey;

/// Numbers devices as they appear.
#[derive(Debug, Default)]
pub(super) struct Devices {
    by_uuid: HashMap<String, DeviceKey>,
    unnamed: u32,
    next: u32,
}

impl Devices {
    /// The key of the device with these UUID bytes, and its description when it was not seen before.
    pub(super) fn by_uuid(
        &mut self,
        uuid: [u8; 16],
        simulated: bool,
    ) -> (DeviceKey, Option<DeviceInfo>) {
        let text = uuid_text(uuid, simulated);
        if let Some(&key) = self.by_uuid.get(&text) {
            return (key, None);
        }
        let key = self.fresh();
        self.by_uuid.insert(text.clone(), key);
        (key, Some(DeviceInfo { index: key.0, uuid: Some(text), simulated }))
    }

    /// A device of one process whose UUID could not be had: it may be the same as another's.
    pub(super) fn unnamed(&mut self, simulated: bool) -> (DeviceKey, DeviceInfo) {
        let key = self.fresh();
        self.unnamed += 1;
        (key, DeviceInfo { index: key.0, uuid: None, simulated })
    }

    fn fresh(&mut self) -> DeviceKey {
        let key = DeviceKey(self.next);
        self.next += 1;
        key
    }
}

/// As `nvidia-smi` prints it; a simulated device begins with `SIM-`.
pub(crate) fn uuid_text(bytes: [u8; 16], simulated: bool) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let prefix = if simulated { "SIM" } else { "GPU" };
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or("").to_owned();
    [prefix.to_owned(), part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_per_uuid() {
        let mut devices = Devices::default();
        let (first, info) = devices.by_uuid([0xab; 16], true);
        assert_eq!(
            info.and_then(|info| info.uuid).as_deref(),
            Some("SIM-abababab-abab-abab-abab-abababababab")
        );
        assert_eq!(devices.by_uuid([0xab; 16], true), (first, None));
        let (second, info) = devices.by_uuid([1; 16], false);
        assert_ne!(first, second);
        assert_eq!(
            info.and_then(|info| info.uuid).as_deref(),
            Some("GPU-01010101-0101-0101-0101-010101010101")
        );
        assert_ne!(devices.unnamed(false).0, devices.unnamed(false).0);
    }
}
