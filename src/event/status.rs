//! Whether an action succeeded.

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Status {
    #[default]
    Unknown,
    Success,
    Failure,
}

impl Status {
    /// The status that an HTTP status code means; `Unknown` if there is no code.
    pub(crate) const fn of_answer(http_status: Option<i32>) -> Self {
        match http_status {
            None => Self::Unknown,
            Some(..400) => Self::Success,
            Some(_) => Self::Failure,
        }
    }
}

/// The number, if it is an HTTP status code: 100 to 599 (RFC 9110, "Status Codes"). Sources log 0, -1 or 000 if there
/// was no response.
pub(crate) fn http_status(number: i64) -> Option<i32> {
    i32::try_from(number).ok().filter(|code| (100..=599).contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_no_http_status_says_nothing_of_the_outcome() {
        for number in [i64::MIN, -200, -1, 0, 1, 99, 600, 999, 1000, 4_294_967_496, i64::MAX] {
            assert_eq!(
                (http_status(number), Status::of_answer(http_status(number))),
                (None, Status::Unknown),
                "{number}"
            );
        }
        for (number, code, status) in [
            (100, 100, Status::Success),
            (200, 200, Status::Success),
            (399, 399, Status::Success),
            (400, 400, Status::Failure),
            (599, 599, Status::Failure),
        ] {
            assert_eq!((http_status(number), Status::of_answer(http_status(number))), (Some(code), status));
        }
    }
}
