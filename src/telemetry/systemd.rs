//! Tells the service manager how the daemon is doing; without one, nothing happens.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::telemetry::one_line;

/// The longest status line that is sent, in bytes.
const STATUS_BYTES_MAX: usize = 500;

/// Everything is built and the work has begun.
pub(crate) fn ready() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready])
}

/// The stop was asked for and is under way.
pub(crate) fn stopping() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])
}

/// The daemon makes progress. To be sent only by who has seen that it does.
pub(crate) fn watchdog() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Watchdog])
}

/// One line for `systemctl status`; longer text is cut, line ends become spaces.
pub(crate) fn status(line: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Status(&one_line(line, STATUS_BYTES_MAX))])
}

/// How often [`watchdog`] is to be sent: half of what the service manager allows. None when it does not watch us.
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
