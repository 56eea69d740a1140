//! What the environment says about a process that a launcher started.

use statetune_core::diagnostic::{Text, msg};

use super::DevicesError;

/// The address of this machine for its own processes.
const HERE: &str = "127.0.0.1";
/// The port at which devices meet under Open MPI, unless `MASTER_PORT` says otherwise.
const PORT: u16 = 29_500;
/// Under Slurm the port is one of this many from the first, by the number of the job.
const SLURM_PORTS: (u16, u32) = (20_000, 10_000);

/// Who started the processes of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Launcher {
    /// This program.
    Own,
    /// torchrun, or another program that sets the same variables.
    Torchrun,
    /// `srun` of Slurm.
    Slurm,
    /// `mpirun` of Open MPI.
    OpenMpi,
}

/// The place of a process among the devices of a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The number of the device, from 0.
    pub rank: usize,
    /// The number of devices.
    pub count: usize,
    /// The number of the device among those of this machine, from 0.
    pub local_rank: usize,
    /// The number of devices on this machine.
    pub local_count: usize,
    /// Who started the processes.
    pub launcher: Launcher,
    /// The host at which the devices meet.
    pub host: String,
    /// The port there; 0 for any free port.
    pub port: u16,
    /// Whether the launcher serves the store at which the devices meet.
    pub is_served: bool,
    /// How many times the launcher has started the processes again.
    pub restarts: u32,
}

impl Place {
    /// Set to the number of the first process in the processes that this program starts.
    pub const PARENT: &str = "STATETUNE_PARENT";

    /// The place that the variables of a launcher describe; `None` for a process on its own.
    ///
    /// # Errors
    /// Variables that are missing or are not numbers.
    pub fn of_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Place>, DevicesError> {
        // An empty variable is one that is not set.
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let is_set = |name: &str| variable(name).is_some();
        let text = |name: &str| {
            variable(name).ok_or_else(|| DevicesError::Environment(msg!(VARIABLE_MISSING, name)))
        };
        let number = |name: &str| -> Result<u32, DevicesError> {
            let value = text(name)?;
            value
                .parse()
                .map_err(|_| DevicesError::Environment(msg!(VARIABLE_IS_NO_NUMBER, name, value)))
        };
        let port_or = |port: u16| match is_set("MASTER_PORT") {
            true => port_of(number("MASTER_PORT")?),
            false => Ok(port),
        };
        // Processes of a machine have neighbouring numbers where the launcher says no more.
        let local_rank = |name: &str, rank: usize, count: usize| match is_set(name) {
            true => number(name).map(|rank| rank as usize),
            false => Ok(rank % count.max(1)),
        };
        let place = if is_set("RANK") && is_set("WORLD_SIZE") {
            let launcher = if is_set(Self::PARENT) { Launcher::Own } else { Launcher::Torchrun };
            let local = if is_set("LOCAL_WORLD_SIZE") { "LOCAL_WORLD_SIZE" } else { "WORLD_SIZE" };
            let (rank, local_count) = (number("RANK")? as usize, number(local)? as usize);
            Place {
                rank,
                count: number("WORLD_SIZE")? as usize,
                local_rank: local_rank("LOCAL_RANK", rank, local_count)?,
                local_count,
                launcher,
                host: text("MASTER_ADDR")?,
                port: port_of(number("MASTER_PORT")?)?,
                is_served: variable("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"),
                restarts: match is_set("TORCHELASTIC_RESTART_COUNT") {
                    true => number("TORCHELASTIC_RESTART_COUNT")?,
                    false => 0,
                },
            }
        } else if is_set("SLURM_PROCID") && is_set("SLURM_STEP_ID") {
            // The variables of `srun`; a batch script without it is one process, whatever its job asked for.
            let tasks = if is_set("SLURM_STEP_NUM_TASKS") {
                "SLURM_STEP_NUM_TASKS"
            } else {
                "SLURM_NTASKS"
            };
            let job = if is_set("SLURM_JOB_ID") { number("SLURM_JOB_ID")? } else { 0 };
            let (first, ports) = SLURM_PORTS;
            let count = number(tasks)? as usize;
            let nodes = if is_set("SLURM_NNODES") { number("SLURM_NNODES")? as usize } else { 1 };
            let (rank, local_count) =
                (number("SLURM_PROCID")? as usize, count.div_ceil(nodes.max(1)));
            Place {
                rank,
                count,
                local_rank: local_rank("SLURM_LOCALID", rank, local_count)?,
                local_count,
                launcher: Launcher::Slurm,
                host: match variable("MASTER_ADDR") {
                    Some(host) => host,
                    None => first_host(&text("SLURM_JOB_NODELIST")?),
                },
                port: port_or(first + (job % ports) as u16)?,
                is_served: false,
                restarts: 0,
            }
        } else if is_set("OMPI_COMM_WORLD_RANK") && is_set("OMPI_COMM_WORLD_SIZE") {
            let count = number("OMPI_COMM_WORLD_SIZE")? as usize;
            let local_count = match is_set("OMPI_COMM_WORLD_LOCAL_SIZE") {
                true => number("OMPI_COMM_WORLD_LOCAL_SIZE")? as usize,
                false => count,
            };
            let rank = number("OMPI_COMM_WORLD_RANK")? as usize;
            Place {
                rank,
                count,
                local_rank: local_rank("OMPI_COMM_WORLD_LOCAL_RANK", rank, local_count)?,
                local_count,
                launcher: Launcher::OpenMpi,
                host: match variable("MASTER_ADDR") {
                    None if local_count == count => HERE.to_owned(),
                    _ => text("MASTER_ADDR")?,
                },
                port: port_or(PORT)?,
                is_served: false,
                restarts: 0,
            }
        } else {
            return Ok(None);
        };
        if place.rank >= place.count {
            let (rank, count) = (place.rank, place.count);
            return Err(DevicesError::Environment(msg!(RANK_TOO_LARGE, rank, count)));
        }
        Ok(Some(place).filter(|place| place.count > 1))
    }

    /// The place of the first of `count` processes that this program starts on this machine.
    pub fn first_of(count: usize) -> Place {
        Place {
            rank: 0,
            count,
            local_rank: 0,
            local_count: count,
            launcher: Launcher::Own,
            host: HERE.to_owned(),
            port: 0,
            is_served: false,
            restarts: 0,
        }
    }

    /// The variables of the process of device `rank`, where this one is device 0 and the devices meet at `port`.
    pub fn variables(&self, rank: usize, port: u16) -> [(&'static str, String); 7] {
        [
            ("RANK", rank.to_string()),
            ("WORLD_SIZE", self.count.to_string()),
            ("LOCAL_RANK", rank.to_string()),
            ("LOCAL_WORLD_SIZE", self.local_count.to_string()),
            ("MASTER_ADDR", self.host.clone()),
            ("MASTER_PORT", port.to_string()),
            (Self::PARENT, std::process::id().to_string()),
        ]
    }

    /// Whether the launcher has given each process of this machine a GPU of its own, so that a process sees one of `found` GPUs
    /// and no other: Slurm with `--gpus-per-task=1`.
    fn has_own_gpu(&self, found: usize) -> bool {
        matches!(self.launcher, Launcher::Slurm | Launcher::OpenMpi) && found == 1
    }

    /// The GPUs of all processes of this machine, of which this process sees `found`.
    pub fn gpus_of_machine(&self, found: usize) -> usize {
        if self.has_own_gpu(found) { self.local_count } else { found }
    }

    /// The GPU of this process, of the `found` ones that it sees. `named` are the GPUs of each machine that the experiment names.
    ///
    /// # Errors
    /// Fewer GPUs than processes, or another number of names.
    pub fn gpu(&self, named: Option<&[usize]>, found: usize) -> Result<usize, DevicesError> {
        let Place { local_rank, local_count, .. } = *self;
        if let Some(named) = named.filter(|named| named.len() != local_count) {
            return Err(DevicesError::GpuNames { named: named.len(), started: local_count });
        }
        let gpu = match named {
            Some(named) => named.get(local_rank).copied(),
            None if self.has_own_gpu(found) => Some(0),
            None => Some(local_rank).filter(|_| local_count <= found),
        };
        gpu.filter(|gpu| *gpu < found)
            .ok_or(DevicesError::TooFewGpus { processes: local_count, found })
    }

    /// The most threads for this process, of `cores` that it may use on a machine of `machine` cores. `set` is the value of
    /// `OMP_NUM_THREADS`.
    pub fn threads(&self, set: Option<usize>, cores: usize, machine: usize) -> usize {
        // Slurm and Open MPI may give each process cores of its own.
        let binds = matches!(self.launcher, Launcher::Slurm | Launcher::OpenMpi);
        let share = match binds && cores < machine {
            true => cores,
            false => (cores / self.local_count.max(1)).max(1),
        };
        // torchrun sets 1 for all programs, because it does not know what they compute.
        let is_default = self.launcher == Launcher::Torchrun && set == Some(1);
        set.filter(|_| !is_default).map_or(share, |set| set.min(share))
    }
}

fn port_of(number: u32) -> Result<u16, DevicesError> {
    let name = "MASTER_PORT";
    let text = || -> Text { msg!(VARIABLE_IS_NO_NUMBER, name, value = number) };
    u16::try_from(number).map_err(|_| DevicesError::Environment(text()))
}

/// The first host of a list of Slurm: `node01` of `node[01-04,07],login`.
fn first_host(list: &str) -> String {
    match list.split_once('[') {
        Some((name, numbers)) if !name.contains(',') => {
            let first: String = numbers.chars().take_while(char::is_ascii_digit).collect();
            format!("{name}{first}")
        }
        _ => list.split(',').next().unwrap_or(list).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Place>, DevicesError> {
        Place::of_environment(|name| {
            variables.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn place(variables: &[(&str, &str)]) -> Place {
        of(variables).expect("complete").expect("several devices")
    }

    #[test]
    fn every_launcher_is_understood() {
        assert_eq!(of(&[]).expect("complete"), None);
        let torchrun = place(&[
            ("RANK", "3"),
            ("WORLD_SIZE", "4"),
            ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "a.example"),
            ("MASTER_PORT", "29400"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RESTART_COUNT", "1"),
        ]);
        let expected = Place {
            rank: 3,
            count: 4,
            local_rank: 1,
            local_count: 2,
            launcher: Launcher::Torchrun,
            host: "a.example".to_owned(),
            port: 29_400,
            is_served: true,
            restarts: 1,
        };
        assert_eq!(torchrun, expected);
        let slurm = place(&[
            ("SLURM_PROCID", "1"),
            ("SLURM_STEP_ID", "0"),
            ("SLURM_NTASKS", "8"),
            ("SLURM_STEP_NUM_TASKS", "4"),
            ("SLURM_NNODES", "2"),
            ("SLURM_JOB_ID", "1234567"),
            ("SLURM_JOB_NODELIST", "gpu[03-04],login"),
        ]);
        assert_eq!((slurm.rank, slurm.count), (1, 4));
        assert_eq!((slurm.local_rank, slurm.local_count), (1, 2));
        assert_eq!((&*slurm.host, slurm.port), ("gpu03", 24_567));
        let mpi = place(&[
            ("OMPI_COMM_WORLD_RANK", "0"),
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
        ]);
        assert_eq!((&*mpi.host, mpi.port, mpi.launcher), (HERE, PORT, Launcher::OpenMpi));
    }

    /// The GPU of a process of a launcher, by its variables.
    fn gpu(
        variables: &[(&str, &str)],
        named: Option<&[usize]>,
        found: usize,
    ) -> Result<usize, String> {
        place(variables).gpu(named, found).map_err(|error| error.to_string())
    }

    #[test]
    fn each_process_takes_the_gpu_of_its_number_on_its_machine() {
        let torchrun = |rank, local_rank| {
            [
                ("RANK", rank),
                ("LOCAL_RANK", local_rank),
                ("WORLD_SIZE", "4"),
                ("LOCAL_WORLD_SIZE", "2"),
                ("MASTER_ADDR", "a"),
                ("MASTER_PORT", "1"),
            ]
        };
        assert_eq!(gpu(&torchrun("3", "1"), None, 2), Ok(1));
        assert_eq!(gpu(&torchrun("2", "0"), None, 8), Ok(0));
        assert_eq!(gpu(&torchrun("3", "1"), Some(&[2, 5]), 8), Ok(5));
        let slurm = |rank, local_id| {
            [
                ("SLURM_PROCID", rank),
                ("SLURM_STEP_ID", "0"),
                ("SLURM_LOCALID", local_id),
                ("SLURM_STEP_NUM_TASKS", "4"),
                ("SLURM_NNODES", "2"),
                ("SLURM_JOB_NODELIST", "a,b"),
            ]
        };
        assert_eq!(gpu(&slurm("1", "1"), None, 2), Ok(1));
        // Tasks that Slurm deals out in turn: the second of machine a has the number 2.
        assert_eq!(gpu(&slurm("2", "1"), None, 2), Ok(1));
        assert_eq!(gpu(&slurm("3", "1"), None, 1), Ok(0), "each task sees its own GPU alone");
        assert_eq!(place(&slurm("3", "1")).gpus_of_machine(1), 2);
        assert_eq!(place(&slurm("3", "1")).gpus_of_machine(8), 8);
        let mpi = |local_rank| {
            [
                ("OMPI_COMM_WORLD_RANK", "2"),
                ("OMPI_COMM_WORLD_SIZE", "4"),
                ("OMPI_COMM_WORLD_LOCAL_SIZE", "4"),
                ("OMPI_COMM_WORLD_LOCAL_RANK", local_rank),
            ]
        };
        assert_eq!(gpu(&mpi("3"), None, 4), Ok(3));
        // Without the number on the machine, that among all.
        assert_eq!(gpu(&mpi(""), None, 4), Ok(2));
        let own = Place::first_of(2);
        assert_eq!(own.gpu(Some(&[1, 0]), 2).expect("a GPU"), 1);
        let second = own.variables(1, 77).map(|(name, value)| (name, value));
        let second: Vec<(&str, &str)> =
            second.iter().map(|(name, value)| (*name, &**value)).collect();
        assert_eq!(gpu(&second, Some(&[1, 0]), 2), Ok(0));
    }

    #[test]
    fn a_process_without_a_gpu_is_refused() {
        let torchrun = [
            ("RANK", "1"),
            ("LOCAL_RANK", "1"),
            ("WORLD_SIZE", "2"),
            ("MASTER_ADDR", "a"),
            ("MASTER_PORT", "1"),
        ];
        let too_few = Err("2 processes of this machine need 2 GPUs, but it has 1".to_owned());
        assert_eq!(gpu(&torchrun, None, 1), too_few);
        assert_eq!(
            gpu(&torchrun, Some(&[0, 1, 2]), 4),
            Err("`hardware.devices` names 3 GPUs, but the launcher started 2 processes on this machine".to_owned())
        );
    }

    #[test]
    fn one_process_is_no_group() {
        let one = [("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "1")];
        assert_eq!(of(&one).expect("complete"), None);
        // A batch script that does not use `srun`.
        let script = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")];
        assert_eq!(of(&script).expect("complete"), None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (variables, expected) in [
            (
                &[("RANK", "1"), ("WORLD_SIZE", "2")][..],
                "this process is one of several devices, but `MASTER_ADDR` is not set",
            ),
            (
                &[("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "")],
                "this process is one of several devices, but `MASTER_ADDR` is not set",
            ),
            (&[("RANK", "x"), ("WORLD_SIZE", "2")], "`RANK` is `x`, which is not a valid number"),
            (
                &[("RANK", "2"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "1")],
                "device 2 is not one of the 2 devices, which count from 0",
            ),
            (
                &[
                    ("OMPI_COMM_WORLD_RANK", "1"),
                    ("OMPI_COMM_WORLD_SIZE", "4"),
                    ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
                ],
                "this process is one of several devices, but `MASTER_ADDR` is not set",
            ),
        ] {
            let error = of(variables).expect_err("refused");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn the_first_host_of_a_list() {
        for (list, first) in [
            ("a", "a"),
            ("a,b[1-2]", "a"),
            ("n[01-04,07],b", "n01"),
            ("n[7]", "n7"),
            ("x-1,y", "x-1"),
        ] {
            assert_eq!(first_host(list), first, "{list}");
        }
    }

    #[test]
    fn threads_are_shared_fairly() {
        let own = Place::first_of(4);
        assert_eq!(own.threads(None, 8, 8), 2);
        assert_eq!(own.threads(None, 3, 8), 1);
        assert_eq!(own.threads(Some(1), 8, 8), 1);
        assert_eq!(own.threads(Some(8), 8, 8), 2);
        let torchrun = Place { launcher: Launcher::Torchrun, ..own.clone() };
        assert_eq!(torchrun.threads(Some(1), 8, 8), 2);
        let slurm = Place { launcher: Launcher::Slurm, ..own };
        assert_eq!(slurm.threads(None, 2, 8), 2);
        assert_eq!(slurm.threads(None, 8, 8), 2);
    }
}
