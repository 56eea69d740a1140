use statetune_core::diagnostic::{Diagnostic, Join, Text, msg};
use statetune_core::exit::ExitCode;

/// Why the devices of a run cannot work together.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum DevicesError {
    /// What the environment says about this process is not complete.
    Environment(Text),
    /// The number of processes is not that of the experiment.
    Count {
        /// Processes that the launcher started.
        started: usize,
        /// Devices of the experiment.
        asked: u64,
    },
    /// Several machines without a launcher.
    NoLauncher {
        /// Machines of the experiment.
        num_nodes: u32,
    },
    /// The experiment names another number of GPUs than there are processes on this machine.
    GpuNames {
        /// GPUs of the experiment.
        named: usize,
        /// Processes that the launcher started on this machine.
        started: usize,
    },
    /// Fewer GPUs than processes on this machine.
    TooFewGpus {
        /// Processes on this machine.
        processes: usize,
        /// GPUs that a process sees.
        found: usize,
    },
    /// Two processes have one GPU.
    SharedGpu {
        /// The numbers of the devices.
        ranks: [usize; 2],
    },
    /// The port at which the devices meet is in use.
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The place at which the devices meet cannot be reached.
    Unreachable {
        /// Host and port.
        address: String,
        /// Seconds that this process tried.
        secs: u64,
    },
    /// Devices did not come.
    Missing {
        /// Their numbers.
        ranks: Vec<usize>,
        /// All devices.
        count: usize,
        /// Seconds that this process waited.
        secs: u64,
    },
    /// A process could not be started.
    Start(String),
    /// A device has other inputs than device 0.
    Differs {
        /// The number of the device.
        rank: usize,
        /// What differs.
        what: Text,
        /// The exit code of a difference of this kind.
        code: ExitCode,
        /// What device 0 and what that device has.
        values: Option<(String, String)>,
    },
    /// A device failed with a message of its own.
    Failed {
        /// The number of the device.
        rank: usize,
        /// Its exit code.
        code: ExitCode,
    },
    /// A device is gone.
    Lost {
        /// The number of the device, if known.
        rank: Option<usize>,
        /// How its process ended, if known.
        how: Option<Text>,
        /// The exit code of its process, if it has one.
        code: Option<ExitCode>,
    },
    /// What libtorch says about an exchange.
    Native(Text),
}

impl DevicesError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Environment(text) => text.clone(),
            Self::Count { started, asked } => msg!(DEVICES_STARTED_DIFFER, started, asked),
            Self::NoLauncher { num_nodes } => msg!(NODES_NEED_LAUNCHER, num_nodes),
            Self::GpuNames { named, started } => msg!(GPU_NAMES_DIFFER, named, started),
            Self::TooFewGpus { processes, found } => msg!(PROCESSES_NEED_GPUS, processes, found),
            Self::SharedGpu { ranks: [one, other] } => msg!(GPU_IS_SHARED, one, other),
            Self::PortTaken { port } => msg!(MEETING_PORT_TAKEN, port),
            Self::Unreachable { address, secs } => msg!(FIRST_DEVICE_UNREACHABLE, address, secs),
            Self::Missing { ranks, count, secs } => {
                let devices = Text::list(Join::And, ranks);
                msg!(DEVICES_MISSING, n = ranks.len(), devices, count, secs)
            }
            Self::Start(error) => msg!(DEVICE_CANNOT_START, error = Text::library(error)),
            Self::Differs { rank, what, .. } => msg!(DEVICE_DIFFERS, rank, what),
            Self::Failed { rank, .. } => msg!(DEVICE_FAILED, rank),
            Self::Lost { rank: Some(rank), how: Some(how), .. } => {
                msg!(DEVICE_LOST, rank, how)
            }
            Self::Lost { rank: Some(rank), .. } => msg!(DEVICE_GONE, rank),
            Self::Lost { .. } => msg!(SOME_DEVICE_GONE),
            Self::Native(text) => msg!(EXCHANGE_FAILED, text),
        }
    }

    /// Whether another device shows the error too.
    pub fn is_told_by_first_device(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::Differs { .. } | Self::SharedGpu { .. } => true,
            Self::Missing { ranks, .. } => !ranks.contains(&0),
            _ => false,
        }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Environment(_)
            | Self::Count { .. }
            | Self::NoLauncher { .. }
            | Self::GpuNames { .. } => ExitCode::Invalid,
            Self::Differs { code, .. } | Self::Failed { code, .. } => *code,
            Self::Lost { code, .. } => code.unwrap_or(ExitCode::Device),
            Self::TooFewGpus { .. }
            | Self::SharedGpu { .. }
            | Self::PortTaken { .. }
            | Self::Unreachable { .. }
            | Self::Missing { .. }
            | Self::Start(_)
            | Self::Native(_) => ExitCode::Device,
        }
    }

    /// The message for the user.
    pub fn diagnostic(&self) -> Diagnostic {
        let fault = Diagnostic::error(self.text());
        match self {
            Self::Environment(_) => fault.help(msg!(SET_BY_LAUNCHER)),
            Self::Count { asked, .. } => fault.help(msg!(START_AS_MANY, asked)),
            Self::NoLauncher { num_nodes } => {
                fault.note(msg!(STARTS_ON_THIS_MACHINE)).help(msg!(START_WITH_TORCHRUN, num_nodes))
            }
            Self::GpuNames { .. } => fault.help(msg!(NAME_AS_MANY_GPUS)),
            Self::TooFewGpus { .. } => fault
                .note(msg!(ONE_PROCESS_A_GPU))
                .help(msg!(START_AS_MANY_AS_GPUS))
                .help(msg!(SEVERAL_CPU_DEVICES)),
            Self::SharedGpu { .. } => {
                fault.note(msg!(ONE_PROCESS_A_GPU)).help(msg!(GIVE_EACH_TASK_A_GPU))
            }
            Self::PortTaken { .. } => fault.help(msg!(CHOOSE_ANOTHER_PORT)),
            Self::Unreachable { .. } => fault.help(msg!(LOOK_AT_FIRST_DEVICE)),
            Self::Missing { .. } => fault.help(msg!(LOOK_AT_DEVICES)),
            Self::Differs { values, .. } => {
                let fault = match values {
                    Some((first, here)) => fault.note(msg!(FIRST_AND_HERE, first, here)),
                    None => fault,
                };
                fault.help(msg!(GIVE_ALL_THE_SAME))
            }
            Self::Failed { .. } => fault.note(msg!(ITS_MESSAGE_SAYS_WHY)),
            Self::Lost { .. } => fault.help(msg!(LOST_DEVICE_MEMORY)),
            Self::Start(_) | Self::Native(_) => fault,
        }
    }
}
