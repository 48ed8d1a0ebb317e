//! Looks up users in a listing, and counts the results.

use std::cell::Cell;
use std::ops::AddAssign;
use std::sync::Arc;

use crate::users::Users;

/// The listing in which the records of one object are looked up, the same for all of them.
#[derive(Debug)]
pub struct Lookup {
    /// `None` if there is no listing yet, or only one that is too old.
    users: Option<Arc<Users>>,
    looked_up: Cell<LookedUp>,
}

impl Lookup {
    /// A lookup in `users`. Without a listing it finds nobody, and counts the user as unavailable.
    pub fn among(users: Option<Arc<Users>>) -> Self {
        Self { users, looked_up: Cell::default() }
    }

    /// The address of the user with this id.
    pub fn email(&self, id: &str) -> Option<&str> {
        let email = self.users.as_ref().map(|users| users.email(id));
        let mut count = self.looked_up.get();
        match email {
            Some(Some(_)) => count.hits += 1,
            Some(None) => count.misses += 1,
            None => count.unavailable += 1,
        }
        self.looked_up.set(count);
        email.flatten()
    }

    /// The counts since the last call.
    pub fn take(&self) -> LookedUp {
        self.looked_up.take()
    }
}

/// How many users were looked up, by result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LookedUp {
    /// The user's address is known.
    pub hits: u64,
    /// The user is not listed, or has no address.
    pub misses: u64,
    /// There was no listing.
    pub unavailable: u64,
}

impl LookedUp {
    /// How many more these are than `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let Self { hits, misses, unavailable } = before;
        Self { hits: self.hits - hits, misses: self.misses - misses, unavailable: self.unavailable - unavailable }
    }

    /// The counts by name.
    pub fn by_result(&self) -> [(&'static str, u64); 3] {
        [("hit", self.hits), ("miss", self.misses), ("unavailable", self.unavailable)]
    }
}

impl AddAssign for LookedUp {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.unavailable += other.unavailable;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lookup_came_to_is_counted_once() {
        let lookup = Lookup::among(Some(Arc::new(Users::from_iter([("u-1", "ann@example.com")]))));
        assert_eq!([lookup.email("u-1"), lookup.email("u-2")], [Some("ann@example.com"), None]);
        assert_eq!(lookup.take(), LookedUp { hits: 1, misses: 1, unavailable: 0 });
        assert_eq!(lookup.take(), LookedUp::default());
        let nowhere = Lookup::among(None);
        assert_eq!(nowhere.email("u-1"), None);
        assert_eq!(nowhere.take(), LookedUp { hits: 0, misses: 0, unavailable: 1 });
    }
}
