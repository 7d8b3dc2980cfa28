//! Who is who: what the drawer asks to put words to ids.

use analysis::event::{DeviceInfo, ProcessInfo};
use analysis::ids::{DeviceKey, NameId, ProcessKey, StackId, Thread};

use crate::capture::{CaptureInfo, Stack};
use crate::pipeline::Pipeline;

/// See the module's text. [`Pipeline`] is one.
pub trait Directory {
    fn info(&self) -> &CaptureInfo;
    fn device(&self, device: DeviceKey) -> Option<&DeviceInfo>;
    fn process(&self, process: ProcessKey) -> Option<&ProcessInfo>;
    /// The kernel's number of a thread that launches.
    fn thread(&self, process: ProcessKey, thread: u32) -> Option<Thread>;
    fn kernel_name(&self, name: NameId) -> Option<&str>;
    /// A stack, and whether all its names are known.
    fn stack(&self, stack: StackId) -> Option<(Stack, bool)>;
}

impl Directory for Pipeline {
    fn info(&self) -> &CaptureInfo {
        self.info()
    }

    fn device(&self, device: DeviceKey) -> Option<&DeviceInfo> {
        self.device(device)
    }

    fn process(&self, process: ProcessKey) -> Option<&ProcessInfo> {
        self.process(process)
    }

    fn thread(&self, process: ProcessKey, thread: u32) -> Option<Thread> {
        self.thread(process, thread)
    }

    fn kernel_name(&self, name: NameId) -> Option<&str> {
        self.kernel_name(name)
    }

    fn stack(&self, stack: StackId) -> Option<(Stack, bool)> {
        self.stack(stack)
    }
}
