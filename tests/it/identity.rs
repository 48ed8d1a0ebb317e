//! Not written yet.
use super::support::emulator::Emulator;
use super::support::http::request;

/// From here on the emulator answers nobody who may not ask.
pub fn enforce_permissions(emulator: &Emulator) {
    let reply = request(emulator.address, "POST", "/moto-api/reset-auth", &[], b"0").unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}
