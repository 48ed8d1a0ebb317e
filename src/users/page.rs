//! One page of users as the API returns it, and the listing that the pages make.

use std::collections::HashMap;

use serde::Deserialize;

use crate::users::{FetchError, Users};

/// The longest id that is kept, in bytes. Users with longer ids are left out.
const ID_BYTES_MAX: usize = 256;
/// The longest e-mail address, in bytes (RFC 5321, 4.5.3.1).
const EMAIL_BYTES_MAX: usize = 320;

/// `UserList` of the API (lakeFS's `api/swagger.yml`, `listUsers`), as far as needed.
#[derive(Deserialize)]
struct Page {
    pagination: Pagination,
    results: Option<Vec<Listed>>,
}

#[derive(Deserialize)]
struct Pagination {
    has_more: bool,
    next_offset: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    email: Option<String>,
}

/// The users listed so far.
pub(super) struct Listing {
    emails: HashMap<Box<str>, Box<str>>,
    /// Includes users without an address.
    listed: usize,
    users_max: usize,
    /// The user after whom the next page begins; empty for the first page.
    after: String,
}

impl Listing {
    pub(super) fn new(users_max: usize) -> Self {
        Self { emails: HashMap::new(), listed: 0, users_max, after: String::new() }
    }

    /// The user after whom the next page begins; empty for the first page.
    pub(super) fn after(&self) -> &str {
        &self.after
    }

    /// Adds the users of a page. Returns whether it was the last page.
    ///
    /// # Errors
    /// If the body is not a page, if there are more users than may be kept, or if the next page would be this one.
    pub(super) fn take(&mut self, body: &[u8]) -> Result<bool, FetchError> {
        // The parser's message may quote the body, which names people.
        let page: Page = serde_json::from_slice(body)
            .map_err(|error| FetchError::Malformed { line: error.line(), column: error.column() })?;
        let results = page.results.unwrap_or_default();
        self.listed += results.len();
        if self.listed > self.users_max {
            return Err(FetchError::TooMany { users_max: self.users_max });
        }
        for user in results {
            let email = user.email.filter(|email| email.contains('@') && email.len() <= EMAIL_BYTES_MAX);
            if let Some(email) = email.filter(|_| user.id.len() <= ID_BYTES_MAX) {
                self.emails.insert(user.id.into(), email.into());
            }
        }
        if !page.pagination.has_more {
            return Ok(true);
        }
        let next = page.pagination.next_offset.unwrap_or_default();
        if next.is_empty() || next == self.after {
            return Err(FetchError::Endless);
        }
        self.after = next;
        Ok(false)
    }

    pub(super) fn users(self) -> Users {
        Users(self.emails)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page as the API writes it, with the fields that are not needed.
    fn page(users: &str, has_more: bool, next: &str) -> Vec<u8> {
        format!(
            r#"{{"pagination":{{"has_more":{has_more},"max_per_page":1000,"next_offset":"{next}","results":2}},"results":[{users}]}}"#
        )
        .into_bytes()
    }

    #[test]
    fn pages_make_one_listing_of_those_who_have_an_address() {
        let mut listing = Listing::new(10);
        assert_eq!(listing.after(), "");
        let first = r#"{"creation_date":1700000000,"email":"ann@example.com","friendly_name":"Ann","id":"u-1"},{"creation_date":1,"id":"ci"}"#;
        assert!(!listing.take(&page(first, true, "ci")).unwrap());
        assert_eq!(listing.after(), "ci");
        let last = r#"{"id":"u-2","email":"bob@example.com"},{"id":"u-3","email":""},{"id":"u-4","email":null},{"id":"u-5","email":"none"}"#;
        assert!(listing.take(&page(last, false, "")).unwrap());
        let expected = Users::from_iter([("u-1", "ann@example.com"), ("u-2", "bob@example.com")]);
        assert!(listing.users() == expected);
    }

    #[test]
    fn nobody_is_a_listing_too() {
        for body in [page("", false, ""), br#"{"pagination":{"has_more":false},"results":null}"#.to_vec()] {
            let mut listing = Listing::new(1);
            assert!(listing.take(&body).unwrap());
            assert!(listing.users().is_empty());
        }
    }

    #[test]
    fn an_offset_that_does_not_move_on_is_refused() {
        let mut listing = Listing::new(10);
        assert!(!listing.take(&page("", true, "u-1")).unwrap());
        assert!(matches!(listing.take(&page("", true, "u-1")), Err(FetchError::Endless)));
        assert!(matches!(Listing::new(10).take(&page("", true, "")), Err(FetchError::Endless)));
    }

    #[test]
    fn more_users_than_are_kept_are_refused_those_without_an_address_too() {
        let users = r#"{"id":"a"},{"id":"b"}"#;
        assert!(Listing::new(2).take(&page(users, false, "")).unwrap());
        assert!(matches!(Listing::new(1).take(&page(users, false, "")), Err(FetchError::TooMany { users_max: 1 })));
    }

    #[test]
    fn what_is_no_page_is_refused_without_being_quoted() {
        for body in ["", "<html>hush</html>", r#"{"results":[]}"#, r#"{"pagination":{"has_more":"hush"}}"#, "[1]"] {
            let error = Listing::new(1).take(body.as_bytes()).unwrap_err();
            assert!(matches!(error, FetchError::Malformed { .. }), "{body}: {error:?}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }

    #[test]
    fn who_has_too_long_an_id_or_address_is_left_out() {
        let (id, email) = ("i".repeat(257), format!("{}@example.com", "e".repeat(320)));
        let users = format!(r#"{{"id":"{id}","email":"a@example.com"}},{{"id":"u-1","email":"{email}"}}"#);
        let mut listing = Listing::new(10);
        assert!(listing.take(&page(&users, false, "")).unwrap());
        assert!(listing.users().is_empty());
    }
}
