//! Metrics of the process itself, as Prometheus' client libraries define and name them.

use std::{fmt, fs};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Reads the process' metrics at each scrape. Leaves out those that the kernel does not give.
#[derive(Debug)]
pub(super) struct Process {
    /// The time of the process' start, in milliseconds since the epoch.
    pub(super) started_ms: i64,
}

/// Virtual and resident memory in bytes.
fn memory_bytes() -> Option<(i64, i64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let page_bytes = i64::try_from(page_size()).ok()?;
    let mut sizes = text.split(' ').map_while(|pages| pages.parse::<i64>().ok()).map(|pages| pages * page_bytes);
    Some((sizes.next()?, sizes.next()?))
}

/// How many file descriptors are open.
fn open_fds() -> Option<i64> {
    let entries = i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?;
    // Less the one that reads the directory.
    Some(entries - 1)
}

/// CPU time of all threads in seconds, user and system.
fn cpu_secs() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut show = |name: &str, help: &str, metric: &dyn Encodable| metric.encode(&mut encoder, name, help);
        show("process_cpu_seconds", "Processor time spent, in user and kernel mode", &ConstCounter::new(cpu_secs()))?;
        show("process_start_time_seconds", "When the process started", &ConstGauge::new(self.started_ms as f64 / 1e3))?;
        if let Some((virtual_bytes, resident_bytes)) = memory_bytes() {
            show("process_virtual_memory_bytes", "Virtual memory", &ConstGauge::new(virtual_bytes))?;
            show("process_resident_memory_bytes", "Resident memory", &ConstGauge::new(resident_bytes))?;
        }
        if let Some(open) = open_fds() {
            show("process_open_fds", "Open file descriptors", &ConstGauge::new(open))?;
        }
        if let Some(most) = getrlimit(Resource::Nofile).current.and_then(|most| i64::try_from(most).ok()) {
            show("process_max_fds", "The most file descriptors that may be open", &ConstGauge::new(most))?;
        }
        Ok(())
    }
}

/// A metric with one value.
trait Encodable {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> fmt::Result;
}

impl<M: EncodeMetric> Encodable for M {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> fmt::Result {
        let kind: MetricType = self.metric_type();
        EncodeMetric::encode(self, encoder.encode_descriptor(name, help, None, kind)?)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn shown() -> Vec<(String, f64)> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process { started_ms: 5_250 }));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
        samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
    }

    fn value(name: &str) -> f64 {
        shown().into_iter().find(|(found, _)| found == name).unwrap().1
    }

    #[test]
    fn what_is_shown_of_the_process_is_what_the_kernel_says() {
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert_eq!(value("process_start_time_seconds"), 5.25);
        // `VmHWM` is the peak resident memory, in kB.
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let most_kib: f64 = most.trim().trim_end_matches(" kB").parse().unwrap();
        let resident = value("process_resident_memory_bytes");
        assert!(resident > 1e6 && resident <= value("process_virtual_memory_bytes"), "{resident}");
        assert!(resident <= most_kib * 1024.0 + 16e6, "{resident}");
        let most = value("process_max_fds");
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= most);
    }
}
