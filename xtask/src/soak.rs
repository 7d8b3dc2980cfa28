//! `cargo xtask soak`: the agent beside the demo's load for minutes to hours. Fails when records get
//! lost, when the agent's memory keeps growing, or when either side ends.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::child::{self, Running};
use crate::load::{Load, Plan, fresh_seed};
use crate::workspace::{Workspace, clean_environment};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Minutes to run
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// Kernels per second, both simulated GPUs together
    #[arg(long, default_value_t = 25_000)]
    rate: u32,
    /// Seed of the simulated load
    #[arg(long)]
    seed: Option<u32>,
}

/// What one look at the agent showed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    /// Its own memory, bytes, without mapped files.
    anonymous: u64,
    records: f64,
    lost: f64,
    invalid: f64,
}

const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// Growth from the second to the last quarter that is still noise of an allocator: pages it has
/// not given back. Arbitrary, but far below what an hour of a real leak shows.
const GROWTH_ALLOWED: u64 = 4 << 20;

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let artefacts = build::everything(workspace)?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => fresh_seed()?,
    };
    let length = Duration::from_secs(args.minutes * 60);
    println!("simulated: soak of {} min at {} kernels/s, seed {seed}", args.minutes, args.rate);
    let plan = Plan {
        gpus: 2,
        rate: args.rate,
        seed,
        limit: length + Duration::from_mins(5),
        truth: workspace.target.join("soak/truth"),
    };
    let mut load = Load::start(workspace, &artefacts, &plan)?;
    let address = free_address()?;
    let mut command = Command::new(&artefacts.agent);
    clean_environment(&mut command);
    command.args(["agent", "--listen", &address.to_string()]);
    let mut agent = Running::start(&mut command, "warplens agent")?;
    let end = Instant::now() + length;
    let mut looks = Vec::new();
    while Instant::now() < end {
        child::pause(BETWEEN_LOOKS)?;
        load.check_alive()?;
        if let Some(status) = agent.ended()? {
            bail!("warplens agent ended by itself ({status})");
        }
        let look = look(agent.id(), address)?;
        println!(
            "simulated: {:>6.1} MiB, {:.0} records, {:.0} lost, {:.0} invalid",
            to_mib(look.anonymous),
            look.records,
            look.lost,
            look.invalid
        );
        looks.push(look);
    }
    agent.stop();
    load.stop();
    verdict(&looks)
}

#[expect(clippy::cast_precision_loss, reason = "megabytes shown to a person")]
fn to_mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn verdict(looks: &[Look]) -> Result<()> {
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else {
        bail!("the soak saw nothing")
    };
    if last.records <= first.records {
        bail!("simulated: the agent counted no record between the first look and the last");
    }
    if last.lost > 0.0 {
        bail!("simulated: {} records were lost", last.lost);
    }
    // The first quarter is warm-up: names, stacks and symbols fill their tables.
    let quarter = looks.len() / 4;
    let early = median(&looks[quarter..(2 * quarter).max(quarter + 1)]);
    let late = median(&looks[looks.len() - quarter.max(1)..]);
    let grown = late.saturating_sub(early);
    if grown > GROWTH_ALLOWED {
        bail!(
            "simulated: the agent grew by {:.1} MiB between the second and the last quarter",
            to_mib(grown)
        );
    }
    println!(
        "simulated: soak passed: {:.0} records, 0 lost, {:.0} invalid, {:.1} MiB at the end, grown by {:.1} MiB",
        last.records,
        last.invalid,
        to_mib(late),
        to_mib(grown)
    );
    Ok(())
}

fn median(looks: &[Look]) -> u64 {
    let mut sizes: Vec<u64> = looks.iter().map(|look| look.anonymous).collect();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied().unwrap_or(0)
}

fn look(pid: u32, address: SocketAddr) -> Result<Look> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .context("read the agent's /proc status")?;
    let anonymous = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("RssAnon:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
        .context("the agent's /proc status has no RssAnon")?
        * 1024;
    let metrics = scrape(address)?;
    let of = |outcomes: &[&str]| outcomes.iter().map(|outcome| records(&metrics, outcome)).sum();
    Ok(Look {
        anonymous,
        records: of(&["classified", "unclassified", "invalid", "lost"]),
        lost: of(&["lost"]),
        invalid: of(&["invalid"]),
    })
}

/// Sum of `warplens_records_total` over everything with this outcome.
fn records(metrics: &str, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    metrics
        .lines()
        .filter(|line| line.starts_with("warplens_records_total{") && line.contains(&label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn scrape(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .with_context(|| format!("connect to the agent at {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read the agent's metrics")?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => bail!("/metrics answered `{}`", answer.lines().next().unwrap_or_default()),
    }
}

/// A port nobody listens on.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("read the free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(sizes: &[u64], lost: f64) -> Vec<Look> {
        let at = |index: usize| f64::from(u32::try_from(index).unwrap_or(u32::MAX));
        let look = |(index, size): (usize, &u64)| Look {
            anonymous: size << 20,
            records: 100.0 * at(index + 1),
            lost,
            invalid: 0.0,
        };
        sizes.iter().enumerate().map(look).collect()
    }

    #[test]
    fn growth_and_loss_fail_a_soak_and_warm_up_does_not() {
        assert!(verdict(&looks(&[5, 30, 40, 40, 40, 40, 41, 40], 0.0)).is_ok());
        assert!(verdict(&looks(&[40, 40, 40, 40, 44, 48, 52, 56], 0.0)).is_err());
        assert!(verdict(&looks(&[40; 8], 1.0)).is_err());
        assert!(verdict(&[]).is_err());
    }

    #[test]
    fn records_are_summed_by_outcome() {
        let text = "warplens_records_total{UUID=\"SIM-0\",outcome=\"lost\"} 2\n\
                    warplens_records_total{UUID=\"SIM-1\",outcome=\"lost\"} 3\n\
                    warplens_records_total{outcome=\"invalid\"} 7\n";
        assert!((records(text, "lost") - 5.0).abs() < f64::EPSILON);
    }
}
