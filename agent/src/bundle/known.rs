//! What this machine and its people are called.

use super::Known;

impl Known {
    /// Names of this machine and its people.
    pub fn of_this_machine() -> Self {
        let uname = rustix::system::uname();
        let host = uname.nodename().to_string_lossy().into_owned();
        let short = host.split('.').next().unwrap_or("").to_owned();
        let mut known = Self { hosts: vec![host, short], ..Self::default() };
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        known.hosts.push(read("/etc/hostname").trim().to_owned());
        for line in read("/etc/passwd").lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, _, people, home, ..] = fields.as_slice() else {
                continue;
            };
            // Of people, not of services: `adduser` begins there.
            if uid.parse::<u32>().is_ok_and(|uid| (1000..65_534).contains(&uid)) {
                known.users.push((*name).to_owned());
                known.users.push(people.split(',').next().unwrap_or("").to_owned());
                known.homes.push((*home).to_owned());
            }
        }
        let variable = |name: &str| std::env::var(name).ok();
        known.users.extend(["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(variable));
        known.homes.extend(variable("HOME"));
        known
    }
}
