//! The launch sites: distinct functions with known shares of GPU time.
//!
//! share of a site = its launches per cycle x its duration / sum over sites. `mlp_up` and
//! `mlp_down` launch the same kernel for different times; `sampler` and `draft_sampler` launch the
//! same function for the same time, so only stacks tell them apart.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use cudarc::driver::{CudaStream, LaunchConfig, PushKernelArg as _};

use crate::allocate::{self, Allocations};
use crate::burst::Burst;
use crate::client::Client;
use crate::graphs::{self, Executable, Graph, Label, Pass, Scenario};

/// One place in the code that launches one kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// Name of the function below.
    pub(crate) name: &'static str,
    pub(crate) kernel: &'static str,
    pub(crate) duration_ns: u64,
    /// Launches in one cycle.
    pub(crate) per_cycle: u32,
}

impl Site {
    /// Name that tells the simulator the duration.
    pub(crate) fn simulated_name(&self) -> String {
        format!("{}__sim{}", self.kernel, self.duration_ns)
    }
}

const GEMM: &str = "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT";

/// 50, 30, 15, 3 and 2 % of a cycle's millisecond.
pub(crate) const SITES: [Site; 5] = [
    Site {
        name: "attention_layer",
        kernel: "kernel_unified_attention",
        duration_ns: 50_000,
        per_cycle: 10,
    },
    Site { name: "mlp_up", kernel: GEMM, duration_ns: 60_000, per_cycle: 5 },
    Site { name: "mlp_down", kernel: GEMM, duration_ns: 30_000, per_cycle: 5 },
    Site { name: "sampler", kernel: "_topk_topp_kernel", duration_ns: 10_000, per_cycle: 3 },
    Site { name: "draft_sampler", kernel: "_topk_topp_kernel", duration_ns: 10_000, per_cycle: 2 },
];

/// What became of a site's launches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) captured: u64,
}

/// The order of launches: every cycle a fresh shuffle, so that no sampling period matches it.
#[derive(Debug)]
pub(crate) struct Order {
    state: u64,
    cycle: Vec<usize>,
}

impl Order {
    pub(crate) fn new(seed: u64) -> Self {
        let cycle = SITES
            .iter()
            .enumerate()
            .flat_map(|(index, site)| std::iter::repeat_n(index, site.per_cycle as usize))
            .collect();
        // xorshift must not start at 0; the multiplier spreads small seeds.
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, cycle }
    }

    /// Site positions of the next cycle.
    pub(crate) fn next_cycle(&mut self) -> Vec<usize> {
        for last in (1..self.cycle.len()).rev() {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the remainder is below the length"
            )]
            let other = (self.state % (last as u64 + 1)) as usize;
            self.cycle.swap(last, other);
        }
        self.cycle.clone()
    }
}

/// A number for each site.
pub(crate) type Counts = [u64; SITES.len()];

/// Replays of one capture in the scenario that captures again.
const REPLAYS_OF_A_CAPTURE: u64 = 20;

/// What one thread did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) counts: [Count; SITES.len()],
    pub(crate) replays: Count,
    /// Kernels of successful replays.
    pub(crate) replayed: Counts,
    /// Copies that succeeded.
    pub(crate) copies: u64,
    pub(crate) allocations: Allocations,
    /// Where bursts were asked for.
    pub(crate) burst: Option<Burst>,
}

/// One launching thread's streams, graph and counts.
#[derive(Debug)]
pub(crate) struct Thread<'c> {
    client: &'c Client,
    stream: Arc<CudaStream>,
    copies: Arc<CudaStream>,
    executables: Vec<Executable>,
    scenario: Scenario,
    label: Label,
    fail_every: u32,
    launches: u64,
    capturing: Option<Pass>,
    /// Of the capture under way.
    captured: Counts,
    done: Done,
}

impl<'c> Thread<'c> {
    pub(crate) fn new(client: &'c Client, fail_every: u32, scenario: Scenario) -> Result<Self> {
        client.context().bind_to_thread().context("bind the context to a thread")?;
        Ok(Self {
            client,
            stream: client.context().new_stream().context("create the launch stream")?,
            copies: client.context().new_stream().context("create the copy stream")?,
            executables: Vec::new(),
            scenario,
            label: graphs::find_label(),
            fail_every,
            launches: 0,
            capturing: None,
            captured: Counts::default(),
            done: Done::default(),
        })
    }

    /// One cycle of single launches, with an input and an output copy around it.
    #[inline(never)]
    pub(crate) fn execute_step(&mut self, order: &mut Order) -> Result<()> {
        self.copy_in_and_out()?;
        self.forward(&order.next_cycle());
        Ok(())
    }

    /// Makes what will be replayed.
    #[inline(never)]
    pub(crate) fn capture_graphs(&mut self, order: &mut Order) -> Result<()> {
        self.executables.clear();
        let cycle = order.next_cycle();
        match self.scenario {
            Scenario::Full => {
                let graph = self.capture(Pass::First, &cycle)?;
                self.executables.push(graph.instantiate()?);
            }
            Scenario::Pieces => {
                let passes = [Pass::First, Pass::Second].into_iter().cycle();
                for (piece, pass) in cycle.chunks(cycle.len().div_ceil(5)).zip(passes) {
                    let graph = self.capture(pass, piece)?;
                    self.executables.push(graph.instantiate()?);
                }
            }
            Scenario::Clone => {
                let graph = self.capture(Pass::First, &cycle)?;
                let clone = graph.clone_graph()?;
                drop(graph);
                self.executables.push(clone.instantiate()?);
            }
            Scenario::Child => {
                let child = self.capture(Pass::First, &cycle)?;
                let mut parent = self.capture(Pass::Second, &order.next_cycle())?;
                parent.add_child(&child)?;
                parent.add_child(&child)?;
                self.executables.push(parent.instantiate()?);
            }
            Scenario::Update => {
                let before = self.capture(Pass::First, &cycle)?;
                let mut executable = before.instantiate()?;
                executable.update(&self.capture(Pass::Second, &order.next_cycle())?)?;
                self.executables.push(executable);
            }
            Scenario::Recapture => {
                let again = self.done.replays.ok / REPLAYS_OF_A_CAPTURE % 2 == 1;
                let pass = if again { Pass::Second } else { Pass::First };
                let graph = self.capture(pass, &cycle)?;
                self.executables.push(graph.instantiate()?);
            }
        }
        Ok(())
    }

    /// Something can be replayed.
    pub(crate) fn has_graphs(&self) -> bool {
        !self.executables.is_empty()
    }

    fn capture(&mut self, pass: Pass, cycle: &[usize]) -> Result<Graph> {
        self.captured = Counts::default();
        graphs::begin(self.stream.cu_stream())?;
        self.capturing = Some(pass);
        match pass {
            Pass::First => self.first_pass(cycle),
            Pass::Second => self.second_pass(cycle),
        }
        self.capturing = None;
        Ok(Graph::new(graphs::end(self.stream.cu_stream())?, self.captured))
    }

    #[inline(never)]
    fn first_pass(&mut self, cycle: &[usize]) {
        self.forward(cycle);
        std::hint::black_box(self.launches);
    }

    #[inline(never)]
    fn second_pass(&mut self, cycle: &[usize]) {
        self.forward(cycle);
        std::hint::black_box(self.captured);
    }

    /// Replays what was captured.
    #[inline(never)]
    pub(crate) fn replay_graph(&mut self, order: &mut Order) -> Result<()> {
        let stream = self.stream.cu_stream();
        for index in 0..self.executables.len() {
            if index > 0 {
                self.attention_layer();
            }
            let executable = &self.executables[index];
            if executable.launch(stream) {
                self.done.replays.ok += 1;
                for (replayed, more) in self.done.replayed.iter_mut().zip(executable.kernels) {
                    *replayed += more;
                }
            } else {
                self.done.replays.failed += 1;
            }
        }
        let over = self.done.replays.ok.is_multiple_of(REPLAYS_OF_A_CAPTURE);
        if self.scenario == Scenario::Recapture && over {
            self.capture_graphs(order)?;
        }
        Ok(())
    }

    /// Allocates and frees through every family.
    #[inline(never)]
    pub(crate) fn exercise_allocators(&mut self) {
        allocate::round(self.client, &self.stream, &mut self.done.allocations);
    }

    /// The shortest kernel, alone.
    pub(crate) fn launch_short(&mut self) {
        self.sampler();
    }

    /// Kernels launched, those replayed included.
    pub(crate) fn kernels(&self) -> u64 {
        let single: u64 = self.done.counts.iter().map(|count| count.ok).sum();
        single + self.done.replayed.iter().sum::<u64>()
    }

    /// Waits for this thread's streams.
    pub(crate) fn finish(mut self) -> Result<Done> {
        self.executables.clear();
        self.wait_for_all()?;
        Ok(self.done)
    }

    /// Waits for everything in this thread's streams.
    pub(crate) fn wait_for_all(&self) -> Result<()> {
        self.stream.synchronize().context("wait for the launch stream")?;
        self.copies.synchronize().context("wait for the copy stream")
    }

    #[inline(never)]
    fn forward(&mut self, cycle: &[usize]) {
        for &site in cycle {
            match site {
                0 => self.attention_layer(),
                1 => self.mlp_up(),
                2 => self.mlp_down(),
                3 => self.sampler(),
                _ => self.draft_sampler(),
            }
        }
    }

    // Each site does something after its launch: it must not leave by a jump into `launch`, or its
    // frame would be missing from the stack.
    #[inline(never)]
    fn attention_layer(&mut self) {
        self.launch(0);
        std::hint::black_box(self.launches);
    }

    #[inline(never)]
    fn mlp_up(&mut self) {
        self.launch(1);
        std::hint::black_box(self.launches);
    }

    #[inline(never)]
    fn mlp_down(&mut self) {
        self.launch(2);
        std::hint::black_box(self.launches);
    }

    #[inline(never)]
    fn sampler(&mut self) {
        self.launch(3);
        std::hint::black_box(self.launches);
    }

    #[inline(never)]
    fn draft_sampler(&mut self) {
        self.launch(4);
        std::hint::black_box(self.launches);
    }

    #[inline(never)]
    fn launch(&mut self, index: usize) {
        let site = &SITES[index];
        let Some(function) = self.client.function(site.name) else {
            return;
        };
        if let (Some(pass), Some(label)) = (self.capturing, self.label) {
            label(pass.label(index));
        }
        let block = self.client.block(self.launches, self.fail_every);
        self.launches += 1;
        let config =
            LaunchConfig { grid_dim: (1, 1, 1), block_dim: (block, 1, 1), shared_mem_bytes: 0 };
        let mut builder = self.stream.launch_builder(function);
        builder.arg(&site.duration_ns);
        // SAFETY: the kernel takes one 64-bit argument, which is what was pushed, and touches no
        // memory.
        let result = unsafe { builder.launch(config) };
        let count = &mut self.done.counts[index];
        match result {
            Ok(_) if self.capturing.is_some() => {
                count.captured += 1;
                self.captured[index] += 1;
            }
            Ok(_) => count.ok += 1,
            Err(_refused) => count.failed += 1,
        }
    }

    #[inline(never)]
    fn copy_in_and_out(&mut self) -> Result<()> {
        let input = [7_u8; 4096];
        let device = self.copies.clone_htod(&input).context("copy to the device")?;
        let output = self.copies.clone_dtoh(&device).context("copy from the device")?;
        anyhow::ensure!(output == input, "what was copied to the device came back different");
        self.done.copies += 2;
        Ok(())
    }
}
