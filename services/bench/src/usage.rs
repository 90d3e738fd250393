//! What processes cost: CPU time and resident memory, from /proc.

use std::{collections::BTreeMap, fs};

/// Microseconds of one tick: Linux counts CPU time in hundredths of a second towards programs, whatever its own clock.
const TICK_US: u64 = 10_000;

/// CPU time since each began, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Workers, by service.
    pub(super) workers: BTreeMap<String, u64>,
    /// Postgres with all its backends, those that have ended too.
    pub(super) postgres: u64,
    /// nats-server.
    pub(super) nats: u64,
    /// This process, which makes the load.
    pub(super) bench: u64,
    /// The whole machine.
    pub(super) machine: u64,
}

impl Usage {
    /// What was used since an earlier moment.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let of = |service: &String| earlier.workers.get(service).copied().unwrap_or(0);
        Self {
            workers: self
                .workers
                .iter()
                .map(|(service, used)| (service.clone(), used.saturating_sub(of(service))))
                .collect(),
            postgres: self.postgres.saturating_sub(earlier.postgres),
            nats: self.nats.saturating_sub(earlier.nats),
            bench: self.bench.saturating_sub(earlier.bench),
            machine: self.machine.saturating_sub(earlier.machine),
        }
    }

    /// All workers.
    pub(super) fn worker(&self) -> u64 {
        self.workers.values().sum()
    }

    /// What processes other than these used.
    pub(super) fn others(&self) -> u64 {
        self.machine.saturating_sub(self.worker() + self.postgres + self.nats + self.bench)
    }
}

/// Fields of `/proc/<pid>/stat` from the third on, which is number 0: the second, the name, may hold anything.
fn stat(pid: u32) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect()
}

/// CPU time of a process that runs. 0 if it does not.
pub(super) fn cpu_us(pid: u32) -> u64 {
    stat(pid).iter().skip(11).take(2).sum::<u64>() * TICK_US
}

/// CPU time of a process and all its children, those that have ended too.
pub(super) fn cpu_with_children_us(pid: u32) -> u64 {
    let own: u64 = stat(pid).iter().skip(11).take(4).sum::<u64>() * TICK_US;
    own + children(pid).into_iter().map(cpu_us).sum::<u64>()
}

fn children(parent: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| stat(*pid).get(1) == Some(&u64::from(parent))).collect()
}

/// CPU time of all processes of the machine.
pub(super) fn machine_us() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    fields.iter().take(7).sum::<u64>().saturating_sub(idle) * TICK_US
}

/// The most memory that a process ever had resident, in KiB.
pub(super) fn resident_max_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Processes that want to run, as an average of the last minute.
pub(super) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

/// How many processors there are.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::{cpu_us, cpu_with_children_us, machine_us, resident_max_kib};

    #[test]
    fn knows_this_process() {
        let pid = std::process::id();
        assert!(resident_max_kib(pid) > 1_000);
        // In this order: what was used grows while it is read, and each must hold what was read before it.
        let (own, with_children, machine) = (cpu_us(pid), cpu_with_children_us(pid), machine_us());
        assert!(own <= with_children && with_children <= machine, "{own}, {with_children}, {machine}");
    }
}
