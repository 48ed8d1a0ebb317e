//! Reports the daemon's state to the service manager. Without a service manager the functions do nothing.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::telemetry::one_line;

/// The longest status line that is sent, in bytes.
const STATUS_BYTES_MAX: usize = 500;

/// Reports that the daemon has started and works.
pub(crate) fn ready() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready])
}

/// Reports that the daemon is stopping.
pub(crate) fn stopping() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])
}

/// Reports that the daemon makes progress. Call it only after checking that it does.
pub(crate) fn watchdog() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Watchdog])
}

/// Sets the line in `systemctl status`. Longer text is cut, and line ends become spaces.
pub(crate) fn status(line: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Status(&one_line(line, STATUS_BYTES_MAX))])
}

/// How often to call [`watchdog`]: half of the time that the service manager allows. `None` if it does not watch us.
pub(crate) fn watchdog_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|allowed| allowed / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_smuggle_another_message() {
        assert_eq!(one_line("late\nREADY=1", STATUS_BYTES_MAX), "late READY=1");
        assert_eq!(one_line(&"ä".repeat(STATUS_BYTES_MAX), STATUS_BYTES_MAX - 1).len(), STATUS_BYTES_MAX - 2);
    }
}
