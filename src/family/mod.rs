//! The kinds of log: how each is named, framed, grown and decoded.
