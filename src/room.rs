//! The memory of one reading: a base that it always has, and more that it must borrow before it grows.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that every reading may take without borrowing.
pub(crate) const BASE_BYTES: usize = 1 << 20;

/// Lends memory to readings.
pub trait Lender: Send + Sync {
    /// Lends `bytes` bytes if they are free now. Returns false otherwise.
    fn lend(&self, bytes: usize) -> bool;

    /// Takes back bytes that were lent.
    fn take_back(&self, bytes: usize);
}

/// The memory of one reading. Without a lender it has no limit. Cheap to clone.
#[derive(Clone, Default)]
pub struct Room(Option<Arc<Shared>>);

struct Shared {
    lender: Box<dyn Lender>,
    state: Mutex<State>,
}

struct State {
    /// Bytes that may be taken, and bytes that are taken.
    granted: usize,
    taken: usize,
    /// Bytes that the last failed [`Room::take`] needed beyond those granted.
    wanted: Option<usize>,
}

/// Memory that was taken. It is given back when this is dropped.
#[derive(Default)]
pub struct Taken {
    room: Room,
    bytes: usize,
}

impl Room {
    pub fn new(lender: Box<dyn Lender>) -> Self {
        let state = Mutex::new(State { granted: BASE_BYTES, taken: 0, wanted: None });
        Self(Some(Arc::new(Shared { lender, state })))
    }

    /// Takes `bytes` bytes.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the lender cannot lend them now. [`wanted`](Self::wanted) then says
    /// how many must be [granted](Self::grant) before the next try.
    pub fn take(&self, bytes: usize) -> io::Result<Taken> {
        self.try_take(bytes).ok_or_else(|| {
            if let Some(shared) = &self.0 {
                let mut state = shared.state();
                state.wanted = Some((state.taken + bytes).saturating_sub(state.granted));
            }
            io::ErrorKind::WouldBlock.into()
        })
    }

    /// Takes `bytes` bytes. `None` if the lender cannot lend them now.
    pub fn try_take(&self, bytes: usize) -> Option<Taken> {
        let Some(shared) = &self.0 else { return Some(Taken { room: self.clone(), bytes }) };
        let mut state = shared.state();
        let missing = state.taken.saturating_add(bytes).saturating_sub(state.granted);
        if missing > 0 && !shared.lender.lend(missing) {
            return None;
        }
        state.granted += missing;
        state.taken += bytes;
        drop(state);
        Some(Taken { room: self.clone(), bytes })
    }

    /// An empty allocation, which may [grow](Taken::grow_to).
    pub fn nothing(&self) -> Taken {
        Taken { room: self.clone(), bytes: 0 }
    }

    /// How many bytes must be granted before the reading can continue. Returned only once for each failed
    /// [`take`](Self::take).
    pub fn wanted(&self) -> Option<usize> {
        self.0.as_ref().and_then(|shared| shared.state().wanted.take())
    }

    /// Allows `bytes` more to be taken. The caller must have them from the lender.
    pub fn grant(&self, bytes: usize) {
        if let Some(shared) = &self.0 {
            shared.state().granted += bytes;
        }
    }
}

impl Taken {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the bytes that are missing to `bytes` in all.
    ///
    /// # Errors
    /// As [`Room::take`].
    pub fn grow_to(&mut self, bytes: usize) -> io::Result<()> {
        let mut more = self.room.take(bytes.saturating_sub(self.bytes))?;
        self.bytes += std::mem::take(&mut more.bytes);
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(shared) = &self.room.0 else { return };
        let mut state = shared.state();
        state.taken -= self.bytes;
        let surplus = state.granted - state.taken.max(BASE_BYTES);
        state.granted -= surplus;
        if surplus > 0 {
            shared.lender.take_back(surplus);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) use tests::Purse;

#[cfg(test)]
mod tests {
    use super::*;

    /// A lender with a fixed number of bytes.
    pub(crate) struct Purse(Arc<Mutex<usize>>);

    impl Purse {
        /// A room whose lender has `bytes` bytes, and what the lender has left.
        pub(crate) fn of(bytes: usize) -> (Room, Arc<Mutex<usize>>) {
            let left = Arc::new(Mutex::new(bytes));
            (Room::new(Box::new(Self(Arc::clone(&left)))), left)
        }
    }

    impl Lender for Purse {
        fn lend(&self, bytes: usize) -> bool {
            let mut left = self.0.lock().unwrap();
            let lends = *left >= bytes;
            *left -= if lends { bytes } else { 0 };
            lends
        }

        fn take_back(&self, bytes: usize) {
            *self.0.lock().unwrap() += bytes;
        }
    }

    #[test]
    fn what_is_taken_beyond_the_base_is_lent_and_given_back() {
        let (room, left) = Purse::of(1000);
        let base = room.take(BASE_BYTES).unwrap();
        assert_eq!(*left.lock().unwrap(), 1000);
        let more = room.take(700).unwrap();
        assert_eq!(*left.lock().unwrap(), 300);
        drop(base);
        assert_eq!((more.bytes(), *left.lock().unwrap()), (700, 1000), "the base holds what is still taken");
        let mut growing = room.nothing();
        growing.grow_to(BASE_BYTES).unwrap();
        growing.grow_to(BASE_BYTES + 200).unwrap();
        assert_eq!(*left.lock().unwrap(), 100, "only what is missing is taken");
        drop((more, growing));
        assert_eq!(*left.lock().unwrap(), 1000);
    }

    #[test]
    fn what_nobody_lends_is_wanted_and_taken_once_it_is_granted() {
        let (room, left) = Purse::of(100);
        let base = room.take(BASE_BYTES).unwrap();
        assert!(room.try_take(500).is_none());
        assert_eq!(room.wanted(), None, "who only tries does not wait");
        assert_eq!(room.take(500).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        assert_eq!((room.wanted(), room.wanted()), (Some(500), None));
        room.grant(500);
        let more = room.take(500).unwrap();
        drop((base, more));
        assert_eq!(*left.lock().unwrap(), 600, "what was granted goes back to the lender too");
    }

    #[test]
    fn a_room_without_a_lender_has_no_limit() {
        let room = Room::default();
        assert_eq!(room.take(usize::MAX).unwrap().bytes(), usize::MAX);
        assert_eq!(room.wanted(), None);
    }
}
