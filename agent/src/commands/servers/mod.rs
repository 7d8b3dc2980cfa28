//! `servers`: the vLLM servers of this node, with their processes. Attaches to nobody.

mod document;
mod tree;

use std::thread;
use std::time::{Duration, Instant};

use super::signals::Signals;
use super::{CommandError, Exit, screen};
use crate::cli::ServersArgs;
use crate::output::OutputError;
use crate::proc::Discovery;
use document::Document;

/// Between looks with `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between looks for a signal.
const SHORT: Duration = Duration::from_millis(50);

pub fn run(args: &ServersArgs) -> Result<Exit, CommandError> {
    let mut node = Discovery::new();
    node.look(Instant::now());
    let mut shown = Document::of(&node);
    print(&shown, args)?;
    if !args.watch {
        return Ok(Exit::Ok);
    }
    let signals = Signals::catch()?;
    let mut looked = Instant::now();
    while !signals.came() {
        thread::sleep(SHORT);
        if looked.elapsed() < LOOK_EVERY {
            continue;
        }
        looked = Instant::now();
        node.look(looked);
        let document = Document::of(&node);
        if document != shown {
            print(&document, args)?;
            shown = document;
        }
    }
    Ok(Exit::Ok)
}

fn print(document: &Document, args: &ServersArgs) -> Result<(), CommandError> {
    if args.json {
        let bytes = if args.watch {
            serde_json::to_vec(document)
        } else {
            serde_json::to_vec_pretty(document)
        };
        let mut bytes = bytes.map_err(OutputError::Json)?;
        bytes.push(b'\n');
        screen::out(&bytes).map_err(CommandError::Stdout)?;
        screen::say(&tree::verdict(document));
    } else {
        let text = format!("{}{}\n", tree::draw(document), tree::verdict(document));
        screen::out(text.as_bytes()).map_err(CommandError::Stdout)?;
    }
    Ok(())
}
