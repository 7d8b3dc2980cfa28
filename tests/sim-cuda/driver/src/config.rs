//! What the environment asks of the simulator. Parsing is pure; [`get`] reads the environment once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Longest a launch takes from call to start when the stream is free, ns: what an H100 shows for
/// small kernels, rounded.
const LAUNCH_LATENCY: u64 = 4_000;

/// How long a kernel of a name runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duration {
    pub(crate) mean_ns: u64,
    /// Half-width of a uniform spread, percent of the mean.
    pub(crate) jitter_percent: u64,
}

/// Every knob of the simulated libcuda.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Physical ordinals this process sees, in its own order, of the `WARPLENS_SIM_DEVICES` there are.
    pub(crate) visible: Vec<u32>,
    /// `WARPLENS_SIM_SEED`.
    pub(crate) seed: u64,
    /// `WARPLENS_SIM_CORRELATION_START`.
    pub(crate) correlation_start: u32,
    /// `WARPLENS_SIM_FAIL_EVERY`: every Nth launch fails; 0 = none.
    pub(crate) fail_every: u64,
    /// `WARPLENS_SIM_LAUNCH_LATENCY`, ns.
    pub(crate) launch_latency: u64,
    /// `WARPLENS_SIM_MEMORY`: bytes of memory a device has.
    pub(crate) memory: u64,
    /// `WARPLENS_SIM_TOUCH_MAX`: copies and sets of more bytes are timed but not done, which bounds the
    /// host memory that is touched.
    pub(crate) touch_max: u64,
    /// `WARPLENS_SIM_TRUTH`: folder for the truth file.
    pub(crate) truth: Option<PathBuf>,
    /// `WARPLENS_SIM_KERNELS`: durations by name.
    pub(crate) kernels: HashMap<String, Duration>,
    /// `WARPLENS_SIM_DRIVER_VERSION`: what `cuDriverGetVersion` says.
    pub(crate) driver_version: i32,
}

/// The configuration of this process, read at its first use.
pub(crate) fn get() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let kernels = std::env::var_os("WARPLENS_SIM_KERNELS")
            .and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default();
        parse(|key| std::env::var(key).ok(), &kernels)
    })
}

fn parse(look_up: impl Fn(&str) -> Option<String>, kernels: &str) -> Config {
    let number = |key: &str, default: u64| {
        look_up(key).and_then(|text| text.trim().parse().ok()).unwrap_or(default)
    };
    let small =
        |key: &str, default: u32| u32::try_from(number(key, u64::from(default))).unwrap_or(default);
    let devices = small("WARPLENS_SIM_DEVICES", 1).min(64);
    Config {
        visible: visible(devices, look_up("CUDA_VISIBLE_DEVICES").as_deref()),
        seed: number("WARPLENS_SIM_SEED", 1),
        correlation_start: small("WARPLENS_SIM_CORRELATION_START", 1),
        fail_every: number("WARPLENS_SIM_FAIL_EVERY", 0),
        launch_latency: number("WARPLENS_SIM_LAUNCH_LATENCY", LAUNCH_LATENCY),
        memory: number("WARPLENS_SIM_MEMORY", 80 << 30),
        touch_max: number("WARPLENS_SIM_TOUCH_MAX", 64 << 20),
        truth: look_up("WARPLENS_SIM_TRUTH").filter(|text| !text.is_empty()).map(PathBuf::from),
        kernels: durations(kernels),
        driver_version: i32::try_from(small("WARPLENS_SIM_DRIVER_VERSION", 13_000))
            .unwrap_or(13_000),
    }
}

/// `CUDA_VISIBLE_DEVICES`: ordinals or UUIDs (`GPU-...`, prefixes allowed); the list ends at the first
/// entry that is not a device, as the real driver has it.
fn visible(devices: u32, list: Option<&str>) -> Vec<u32> {
    let Some(list) = list else {
        return (0..devices).collect();
    };
    let mut ordinals = Vec::new();
    for entry in list.split(',').map(str::trim) {
        let ordinal = match entry.strip_prefix("GPU-") {
            Some(uuid) => (0..devices).find(|&device| {
                !uuid.is_empty() && uuid_text(device).starts_with(&uuid.to_lowercase())
            }),
            None => entry.parse().ok().filter(|&device| device < devices),
        };
        match ordinal {
            Some(ordinal) if !ordinals.contains(&ordinal) => ordinals.push(ordinal),
            _ => break,
        }
    }
    ordinals
}

/// UUID of a physical device: the same in every process, `SIM-` in front.
pub(crate) fn uuid(physical: u32) -> [u8; 16] {
    let mut uuid = *b"SIM-\xd0\x5a\x1f\x77\x9c\x21\x8e\x40\0\0\0\0";
    uuid[12..].copy_from_slice(&physical.to_be_bytes());
    uuid
}

fn uuid_text(physical: u32) -> String {
    let mut text = String::new();
    for (index, byte) in uuid(physical).iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}

/// Lines of `name TAB mean-ns TAB jitter-percent`; a line that is not one is skipped.
fn durations(text: &str) -> HashMap<String, Duration> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let name = fields.next()?;
            let mean_ns = fields.next()?.trim().parse().ok()?;
            let jitter_percent =
                fields.next().map_or(Some(0), |field| field.trim().parse().ok())?;
            Some((name.to_owned(), Duration { mean_ns, jitter_percent }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_devices_follow_the_list_until_it_stops_making_sense() {
        let check = |list: Option<&str>, expected: &[u32]| {
            assert_eq!(visible(4, list), expected, "{list:?}");
        };
        check(None, &[0, 1, 2, 3]);
        check(Some(""), &[]);
        check(Some("2,0"), &[2, 0]);
        check(Some("1,9,2"), &[1]);
        check(Some("1,1,2"), &[1]);
        check(Some("-1"), &[]);
        check(Some(&format!("GPU-{}", uuid_text(3))), &[3]);
    }

    #[test]
    fn durations_are_read_and_nonsense_is_skipped() {
        let table = durations("a<b, c>\t1500\t10\nx\nb\t7\n\t\nc\tno\t1\n");
        assert_eq!(table.len(), 2);
        assert_eq!(table["a<b, c>"], Duration { mean_ns: 1500, jitter_percent: 10 });
        assert_eq!(table["b"], Duration { mean_ns: 7, jitter_percent: 0 });
    }
}
