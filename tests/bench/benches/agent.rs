//! What the agent itself costs at 25 000 kernels/s on two simulated GPUs: CPU of one core and
//! resident anonymous memory, as a daemon serving metrics and as a recording with stacks.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use warplens_bench::figure;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, command};
use warplens_tests::harness::daemon;
use warplens_tests::harness::server::Run;

const WARM_UP: Duration = Duration::from_secs(3);
const MEASURE: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let run = Run::new(2)?.with_shim()?;
    let server = run.serve(&["--rate", "25000"])?;
    let agent = artefacts::agent()?;
    let mut daemon_command = command(&agent);
    let config = run.folder().join("warplens.toml");
    fs::write(&config, daemon::configuration(run.folder(), ""))?;
    daemon_command.args(["agent", "--config"]).arg(&config);
    daemon_command.env("WARPLENS_SOCKET", run.folder().join("agent.sock"));
    measure("daemon", Child::start(&mut daemon_command, run.folder(), "daemon")?)?;
    let mut record = command(&agent);
    let out = run.folder().join("out");
    record
        .args(["record", "--duration", "60s", "--pid", &server.child.pid().to_string(), "--out"])
        .arg(&out);
    measure("record", Child::start(&mut record, run.folder(), "record")?)
}

fn measure(name: &str, mut agent: Child) -> Result<()> {
    thread::sleep(WARM_UP);
    ensure!(agent.alive(), "{name} ended: {}", agent.stderr());
    let (before, begin) = (cpu_seconds(agent.pid())?, Instant::now());
    thread::sleep(MEASURE);
    ensure!(agent.alive(), "{name} ended: {}", agent.stderr());
    let share = (cpu_seconds(agent.pid())? - before) / begin.elapsed().as_secs_f64();
    figure(&format!("agent/{name}-cpu"), share * 100.0, "% of a core");
    figure(&format!("agent/{name}-memory"), rss_anon_mib(agent.pid())?, "MiB RssAnon");
    Ok(())
}

/// User and system time of a process.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("stat")?;
    let ticks: Vec<&str> = fields.split_whitespace().collect();
    let at = |index: usize| -> Result<f64> { Ok(ticks.get(index).context("stat")?.parse()?) };
    // Fields 14 and 15 of the line, in ticks of 10 ms.
    Ok((at(11)? + at(12)?) / 100.0)
}

fn rss_anon_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).context("no RssAnon")?;
    Ok(line.split_whitespace().nth(1).context("no value")?.parse::<f64>()? / 1024.0)
}
