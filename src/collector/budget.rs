//! The memory budget: what all readings together may take beyond their bases.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::batch::Buffers;
use crate::room::Lender;

/// The memory budget. The oldest reading is always granted the memory that it waits for, so that some reading always
/// goes on. The excess over the budget is bounded by what one reading can take. Cheap to clone.
#[derive(Clone)]
pub(super) struct Budget {
    shared: Arc<Shared>,
    pub buffers: Buffers,
}

struct Shared(Mutex<State>);

struct State {
    /// Negative while the oldest reading has taken more than the budget.
    free_bytes: i128,
    /// The readings, from the oldest to the youngest.
    loans: BTreeMap<u64, Account>,
    begun: u64,
}

#[derive(Default)]
struct Account {
    lent_bytes: usize,
    waiting: Option<Waiting>,
}

struct Waiting {
    bytes: usize,
    granted: oneshot::Sender<()>,
}

/// One reading's account with the budget. Its memory is given back when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Loan(Arc<Borrower>);

struct Borrower {
    shared: Arc<Shared>,
    number: u64,
}

impl Budget {
    /// A budget of `bytes` for all readings.
    pub(super) fn new(bytes: usize) -> Self {
        let state = State { free_bytes: bytes as i128, loans: BTreeMap::new(), begun: 0 };
        Self { shared: Arc::new(Shared(Mutex::new(state))), buffers: Buffers::default() }
    }

    /// The account of a reading that begins now.
    pub(super) fn begin(&self) -> Loan {
        let mut state = self.shared.state();
        let number = state.begun;
        state.begun += 1;
        state.loans.insert(number, Account::default());
        Loan(Arc::new(Borrower { shared: Arc::clone(&self.shared), number }))
    }
}

impl Loan {
    /// Returns once `bytes` more are lent. No younger reading is lent memory in the meantime.
    pub(super) async fn wait(&self, bytes: usize) {
        let (granted, answer) = oneshot::channel();
        {
            let mut state = self.0.shared.state();
            if let Some(account) = state.loans.get_mut(&self.0.number) {
                account.waiting = Some(Waiting { bytes, granted });
            }
            state.grant();
        }
        // The sender stays in the account, which lives as long as `self`: the answer comes.
        let _ = answer.await;
    }
}

impl Lender for Loan {
    fn lend(&self, bytes: usize) -> bool {
        let mut state = self.0.shared.state();
        let is_free = state.free_bytes >= bytes as i128 && state.loans.values().all(|loan| loan.waiting.is_none());
        if is_free {
            state.lend(self.0.number, bytes);
        }
        is_free
    }

    fn take_back(&self, bytes: usize) {
        let mut state = self.0.shared.state();
        if let Some(account) = state.loans.get_mut(&self.0.number) {
            account.lent_bytes -= bytes;
            state.free_bytes += bytes as i128;
        }
        state.grant();
    }
}

impl Drop for Borrower {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(account) = state.loans.remove(&self.number) {
            state.free_bytes += account.lent_bytes as i128;
        }
        state.grant();
    }
}

impl State {
    fn lend(&mut self, number: u64, bytes: usize) {
        if let Some(account) = self.loans.get_mut(&number) {
            account.lent_bytes += bytes;
            self.free_bytes -= bytes as i128;
        }
    }

    /// Grants the oldest reading's request in any case, then the others' by age while enough is free.
    fn grant(&mut self) {
        let numbers: Vec<u64> = self.loans.keys().copied().collect();
        for (at, number) in numbers.into_iter().enumerate() {
            let Some(account) = self.loans.get_mut(&number) else { continue };
            let Some(waiting) = account.waiting.take_if(|waiting| at == 0 || self.free_bytes >= waiting.bytes as i128)
            else {
                if account.waiting.is_some() {
                    return;
                }
                continue;
            };
            self.lend(number, waiting.bytes);
            // A reading that has stopped waiting gives the memory back when its loan is dropped.
            let _ = waiting.granted.send(());
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;
    use crate::records::lines::{Lines, LinesError, Start};
    use crate::records::{Around, LineRole};
    use crate::room::{BASE_BYTES, Room};

    impl Budget {
        fn free_bytes(&self) -> i128 {
            self.shared.state().free_bytes
        }
    }

    #[tokio::test(start_paused = true)]
    async fn more_readings_than_there_is_room_for_all_come_to_their_end() {
        let budget = Budget::new(1000);
        let mut readings = JoinSet::new();
        for number in 0..40 {
            let loan = budget.begin();
            readings.spawn(async move {
                // Each takes more and more and gives nothing back. Some need more than the budget.
                for step in 1..=5 {
                    let bytes = 100 * step * (1 + number % 3);
                    if !loan.lend(bytes) {
                        loan.wait(bytes).await;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                number
            });
        }
        let ended = tokio::time::timeout(Duration::from_secs(60), readings.join_all()).await.unwrap();
        assert_eq!(ended.len(), 40);
        assert_eq!(budget.free_bytes(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn long_lines_of_more_objects_than_there_is_room_for_are_all_read() {
        let budget = Budget::new(2 << 20);
        let content: Arc<[u8]> = [vec![b'x'; 3 << 20], b"\nshort\n".to_vec()].concat().into();
        let mut readings = JoinSet::new();
        for _ in 0..12 {
            let (loan, content) = (budget.begin(), Arc::clone(&content));
            readings.spawn(async move {
                let room = Room::new(Box::new(loan.clone()));
                let role = |_: &[u8], _: &mut Around| LineRole::Record;
                let mut lines = Lines::new(role, 4 << 20, Start::Beginning).in_room(room.clone());
                let (mut source, mut records, mut waits) = (&content[..], 0, 0);
                loop {
                    match lines.advance(&mut source) {
                        Ok(true) => records += lines.block().len(),
                        Ok(false) => return (records, waits),
                        Err(LinesError::Source(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                            let bytes = room.wanted().unwrap();
                            waits += 1;
                            loan.wait(bytes).await;
                            room.grant(bytes);
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        let ended = tokio::time::timeout(Duration::from_secs(60), readings.join_all()).await.unwrap();
        assert!(ended.iter().all(|(records, waits)| *records == 2 && *waits > 0), "{ended:?}");
        assert_eq!(budget.free_bytes(), 2 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_is_always_granted_and_the_others_by_age() {
        let budget = Budget::new(100);
        let [first, second, third, fourth] = [(); 4].map(|()| budget.begin());
        assert!(second.lend(80));
        let soon = Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, third.wait(50)).await.is_err());
        assert!(!fourth.lend(10), "it does not go before one that waits");
        first.wait(500).await;
        assert_eq!(budget.free_bytes(), -480);
        drop(first);
        // The second is the oldest now. The third's wait was dropped, and it is granted what it asked for.
        second.wait(70).await;
        assert_eq!(budget.free_bytes(), -50);
        drop(second);
        assert_eq!(budget.free_bytes(), 50);
        drop(third);
        assert!(fourth.lend(100));
        drop(fourth);
        assert_eq!(budget.free_bytes(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_has_its_base_when_nothing_is_free() {
        let budget = Budget::new(10);
        let (holder, _younger) = (budget.begin(), budget.begin());
        assert!(holder.lend(10));
        let room = Room::new(Box::new(budget.begin()));
        let base = room.take(BASE_BYTES).unwrap();
        assert!(room.take(1).is_err());
        drop(base);
        assert_eq!(budget.free_bytes(), 0);
    }
}
